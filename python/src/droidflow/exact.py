"""Sines, rotations and poses with the bits that droidflow computes.

Float64 throughout, every operation rounded by itself and in the order of the program's
(src/droidflow/geometry): NumPy's elementwise + - * / and sqrt do that on every machine, its sines,
matrix products and sums do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PI = float.fromhex("0x1.921fb54442d18p+1"), float.fromhex("0x1.1a62633145c07p-53")
_HALF_PI = float.fromhex("0x1.921fb54442d18p+0"), float.fromhex("0x1.1a62633145c07p-54")
_TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
_HALF_PI_PIECES = [
    float.fromhex(piece)
    for piece in (
        "0x1.921fb544p+0",
        "0x1.0b4611a6p-34",
        "0x1.3198a2ep-69",
        "0x1.b839a252049c1p-104",
    )
]
_REDUCTION_LIMIT = 2.0**20
_SIN = [
    1 / 355687428096000.0,
    -1 / 1307674368000.0,
    1 / 6227020800.0,
    -1 / 39916800.0,
    1 / 362880.0,
    -1 / 5040.0,
    1 / 120.0,
    -1 / 6.0,
]
_COS = [
    -1 / 6402373705728000.0,
    1 / 20922789888000.0,
    -1 / 87178291200.0,
    1 / 479001600.0,
    -1 / 3628800.0,
    1 / 40320.0,
    -1 / 720.0,
    1 / 24.0,
]
_ATAN = [(-1.0 if i % 2 == 0 else 1.0) / (45 - 2 * i) for i in range(22)]
_ATAN_POINTS = [  # used below, c, atan(c) as a sum of two
    (7 / 16, 0.0, 0.0, 0.0),
    (11 / 16, 0.5, float.fromhex("0x1.dac670561bb4fp-2"), float.fromhex("0x1.a2b7f222f65e2p-56")),
    (19 / 16, 1.0, _HALF_PI[0] / 2, _HALF_PI[1] / 2),
    (39 / 16, 1.5, float.fromhex("0x1.f730bd281f69bp-1"), float.fromhex("0x1.007887af0cbbdp-56")),
]
_NEARLY_EQUAL = 0.9995  # of two quaternions: above, the chord does for the arc


def _horner(coefficients: list[float], x: Array) -> Array:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    b_part = total - a
    a_part = total - b_part
    return total, (a - a_part) + (b - b_part)


def _sin_cos_near_zero(angle_rad: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Sine and cosine of what is left after whole quarter turns, and how many there were."""
    far = np.abs(angle_rad) > _REDUCTION_LIMIT
    angle_rad = np.where(far, np.fmod(angle_rad, 2 * _PI[0]), angle_rad)
    multiple = np.floor(angle_rad * _TWO_OVER_PI + 0.5)
    high, low = angle_rad, np.zeros_like(angle_rad)
    for piece in _HALF_PI_PIECES:
        next_high, next_low = _exact_sum(high, -multiple * piece)
        high, low = _exact_sum(next_high, next_low + low)
    square = high * high
    sine = high + (high * square * _horner(_SIN, square) + low * (1 - 0.5 * square))
    half = 0.5 * square
    head = 1 - half
    lost = (1 - head) - half
    cosine = head + (lost + (square * square * _horner(_COS, square) - high * low))
    return sine, cosine, multiple.astype(np.int64) & 3


def sin_cos(angle_rad: Array) -> tuple[Array, Array]:
    s, c, quadrant = _sin_cos_near_zero(angle_rad)
    sine = np.select([quadrant == 0, quadrant == 1, quadrant == 2], [s, c, -s], -c)
    cosine = np.select([quadrant == 0, quadrant == 1, quadrant == 2], [c, -s, -c], s)
    return np.where(angle_rad == 0, angle_rad, sine), cosine


def _atan_positive(x: Array) -> Array:
    t, high, low = (
        -1 / np.where(x > 1, x, 1),
        np.full_like(x, _HALF_PI[0]),
        np.full_like(x, _HALF_PI[1]),
    )
    for limit, c, c_high, c_low in reversed(_ATAN_POINTS):
        below = x < limit
        t = np.where(below, (x - c) / (1 + c * x), t)
        high, low = np.where(below, c_high, high), np.where(below, c_low, low)
    square = t * t
    return np.asarray(high + (t - (t * square * _horner(_ATAN, square) - low)))


def acos(x: Array) -> Array:
    """Of 0 <= x <= 1."""
    asin = _atan_positive(x / np.sqrt(np.where(x <= 0.5, (1 - x) * (1 + x), 1)))
    half = _atan_positive(np.sqrt((1 - x) / (1 + x)))
    return np.where(x <= 0.5, _HALF_PI[0] - (asin - _HALF_PI[1]), 2 * half)


def rotation(axis: int, angle_rad: Array) -> Array:
    """[…, 3, 3] about x (0), y (1) or z (2)."""
    s, c = sin_cos(np.asarray(angle_rad, np.float64))
    turned = np.zeros((*s.shape, 3, 3))
    one, two = (axis + 1) % 3, (axis + 2) % 3
    turned[..., axis, axis] = 1
    turned[..., one, one] = turned[..., two, two] = c
    turned[..., one, two], turned[..., two, one] = -s, s
    return turned


def product(a: Array, b: Array) -> Array:
    """[…, 3, K] of […, 3, 3] and […, 3, K]"""
    terms = a[..., None] * b[..., None, :, :]
    return np.asarray(terms[..., 0, :] + (terms[..., 1, :] + terms[..., 2, :]))


def pose(linear: Array, origin: Array) -> Array:
    """[…, 4, 4]"""
    shape = np.broadcast_shapes(linear.shape[:-2], origin.shape[:-1])
    made = np.zeros((*shape, 4, 4))
    made[..., :3, :3], made[..., :3, 3], made[..., 3, 3] = linear, origin, 1
    return made


def compose(a: Array, b: Array) -> Array:
    """Poses: the second seen from where the first is seen."""
    turned = product(a[..., :3, :3], b[..., :3, :])
    return pose(turned[..., :3], turned[..., 3] + a[..., :3, 3])


def inverse(a: Array) -> Array:
    linear = np.swapaxes(a[..., :3, :3], -1, -2)
    return pose(linear, product(-linear, a[..., :3, 3:])[..., 0])


def apply(a: Array, point: Array) -> Array:
    """[…, 3] of poses and one point [3]."""
    m = a[..., :3, :]
    return np.asarray(
        (m[..., 0] * point[0] + m[..., 1] * point[1]) + (m[..., 2] * point[2] + m[..., 3])
    )


def pose_of_vector(vector: Array) -> Array:
    """[…, 4, 4] of x y z and three angles about the fixed axes x, y, z."""
    turned = product(
        product(rotation(2, vector[..., 5]), rotation(1, vector[..., 4])),
        rotation(0, vector[..., 3]),
    )
    return pose(turned, vector[..., :3])


def _normalized(q: Array) -> Array:
    return np.asarray(q / np.sqrt(_dot(q, q))[:, None])


def _dot(a: Array, b: Array) -> Array:
    terms = a * b
    return np.asarray((terms[:, 0] + terms[:, 1]) + (terms[:, 2] + terms[:, 3]))


def quaternions(r: Array) -> Array:
    """[T, 4] x y z w of [T, 3, 3], each from its largest component."""
    d0, d1, d2 = r[:, 0, 0], r[:, 1, 1], r[:, 2, 2]
    w, x, y, z = (d0 + d1) + d2, (d0 - d1) - d2, (d1 - d2) - d0, (d2 - d0) - d1
    wx, wy, wz = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    xy, xz, yz = r[:, 1, 0] + r[:, 0, 1], r[:, 0, 2] + r[:, 2, 0], r[:, 2, 1] + r[:, 1, 2]
    is_w = (w >= x) & (w >= y) & (w >= z)
    is_x = (x >= y) & (x >= z)
    choose: Any = [is_w, is_x, y >= z]
    columns = [
        np.select(choose, [wx, 1 + x, xy], xz),
        np.select(choose, [wy, xy, 1 + y], yz),
        np.select(choose, [wz, xz, yz], 1 + z),
        np.select(choose, [1 + w, wx, wy], wz),
    ]
    return _normalized(np.stack(columns, axis=1))


def interpolate(a: Array, b: Array, weight: Array) -> Array:
    """[K, 3, 3] of quaternions [K, 4], along the shorter arc."""
    signed = _dot(a, b)
    dot = np.abs(signed)
    arc = dot <= _NEARLY_EQUAL
    angle = acos(np.where(arc, dot, 0))
    sine = sin_cos(angle)[0]
    of_a = np.where(arc, sin_cos((1 - weight) * angle)[0] / sine, 1 - weight)
    of_b = np.where(arc, sin_cos(weight * angle)[0] / sine, weight)
    of_b = np.where(signed < 0, -of_b, of_b)
    x, y, z, w = _normalized(of_a[:, None] * a + of_b[:, None] * b).T
    tx, ty, tz = 2 * x, 2 * y, 2 * z
    twx, twy, twz = tx * w, ty * w, tz * w
    txx, txy, txz, tyy, tyz, tzz = tx * x, ty * x, tz * x, ty * y, tz * y, tz * z
    rows = [
        [1 - (tyy + tzz), txy - twz, txz + twy],
        [txy + twz, 1 - (txx + tzz), tyz - twx],
        [txz - twy, tyz + twx, 1 - (txx + tyy)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)
