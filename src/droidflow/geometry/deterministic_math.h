#pragma once

/// Sine, cosine and their inverses with the same bits on every machine.
///
/// glibc picks its sin, cos, atan and acos at run time: one variant for machines with FMA, another
/// for those without, and they differ in the last bit. droidflow promises the same bytes on every
/// node, so numbers that reach a file come from these functions, which use only + - * / and sqrt,
/// each of which IEEE 754 rounds in one way.
///
/// Every function is within 2 units in the last place of the true value and gives NaN for NaN.

namespace droidflow {

/// Unit     radians. Infinity gives NaN. Beyond |x| = 2^20 the argument is first reduced modulo the
///          double nearest to 2 pi: still the same bits everywhere, but no longer within 2 units.
[[nodiscard]] double Sin(double angle_rad);
[[nodiscard]] double Cos(double angle_rad);

/// Arc tangent in radians, within [-pi/2, pi/2].
[[nodiscard]] double Atan(double x);

/// Arc cosine in radians, within [0, pi]. Invalid  |x| > 1 gives NaN.
[[nodiscard]] double Acos(double x);

}  // namespace droidflow
