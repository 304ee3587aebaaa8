#include "droidflow/geometry/deterministic_math.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace droidflow {
namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// A number as a sum of two doubles, |low| at most half a unit in the last place of high.
struct TwoDoubles {
  double high;
  double low;
};

constexpr TwoDoubles kPi = {0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53};
constexpr TwoDoubles kHalfPi = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

// pi/2 in pieces. The first three have 33 bits, so that their products with an integer below 2^20
// are exact; together they hold 152 bits, enough for the double nearest to any multiple of pi/2.
constexpr std::array kHalfPiPieces = {
    0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69, 0x1.b839a252049c1p-104};
constexpr double kReductionLimit = 0x1p20;

// Sum without loss. Source: Knuth, TAOCP 2, section 4.2.2, theorem B.
TwoDoubles ExactSum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  const double a_part = sum - b_part;
  return {sum, (a - a_part) + (b - b_part)};
}

struct ReducedAngle {
  TwoDoubles remainder;  // |remainder| <= pi/4
  int quadrant;          // 0 … 3
};

// Precondition: angle_rad is finite.
ReducedAngle Reduce(double angle_rad) {
  if (std::abs(angle_rad) > kReductionLimit) angle_rad = std::fmod(angle_rad, 2 * kPi.high);
  const double multiple = std::floor(angle_rad * kTwoOverPi + 0.5);
  TwoDoubles remainder = {angle_rad, 0};
  for (const double piece : kHalfPiPieces) {
    const TwoDoubles next = ExactSum(remainder.high, -multiple * piece);
    remainder = ExactSum(next.high, next.low + remainder.low);
  }
  return {remainder, static_cast<int>(multiple) & 3};
}

// A polynomial, highest power first.
template <std::size_t kCount>
double Horner(const std::array<double, kCount>& coefficients, double x) {
  double sum = 0;
  for (const double coefficient : coefficients) sum = sum * x + coefficient;
  return sum;
}

// The Taylor series of sine and cosine for |x| <= pi/4: the first term left out is below a fiftieth
// of a unit in the last place.
double SinNearZero(TwoDoubles x) {
  constexpr std::array kSeries = {1 / 355687428096000.0,
                                  -1 / 1307674368000.0,
                                  1 / 6227020800.0,
                                  -1 / 39916800.0,
                                  1 / 362880.0,
                                  -1 / 5040.0,
                                  1 / 120.0,
                                  -1 / 6.0};
  const double square = x.high * x.high;
  const double cubic = x.high * square * Horner(kSeries, square);
  return x.high + (cubic + x.low * (1 - 0.5 * square));
}

double CosNearZero(TwoDoubles x) {
  constexpr std::array kSeries = {-1 / 6402373705728000.0,
                                  1 / 20922789888000.0,
                                  -1 / 87178291200.0,
                                  1 / 479001600.0,
                                  -1 / 3628800.0,
                                  1 / 40320.0,
                                  -1 / 720.0,
                                  1 / 24.0};
  const double square = x.high * x.high;
  const double half = 0.5 * square;
  const double head = 1 - half;
  const double lost = (1 - head) - half;  // what rounding took from head
  return head + (lost + (square * square * Horner(kSeries, square) - x.high * x.low));
}

// Atan for x >= 0, from the nearest tabulated point c:
// atan(x) = atan(c) + atan((x - c) / (1 + c x)).
double AtanPositive(double x) {
  struct Point {
    double limit;  // used below this x
    double c;
    TwoDoubles atan_c;
  };
  static constexpr std::array<Point, 4> kPoints = {
      {{7.0 / 16, 0, {0, 0}},
       {11.0 / 16, 0.5, {0x1.dac670561bb4fp-2, 0x1.a2b7f222f65e2p-56}},
       {19.0 / 16, 1, {kHalfPi.high / 2, kHalfPi.low / 2}},
       {39.0 / 16, 1.5, {0x1.f730bd281f69bp-1, 0x1.007887af0cbbdp-56}}}};
  TwoDoubles base = kHalfPi;
  double t = -1 / x;
  for (const Point& point : kPoints) {
    if (x < point.limit) {
      base = point.atan_c;
      t = (x - point.c) / (1 + point.c * x);
      break;
    }
  }
  // |t| <= 7/16: t - t (t^2/3 - t^4/5 + t^6/7 …), to t^44.
  static constexpr auto kSeries = [] {
    std::array<double, 22> coefficients{};  // highest power first
    for (int i = 0; i < 22; ++i) coefficients[i] = (i % 2 == 0 ? -1.0 : 1.0) / (45 - 2 * i);
    return coefficients;
  }();
  const double square = t * t;
  return base.high + (t - (t * square * Horner(kSeries, square) - base.low));
}

}  // namespace

double Sin(double angle_rad) {
  if (!std::isfinite(angle_rad)) return kNotANumber;
  const auto [x, quadrant] = Reduce(angle_rad);
  switch (quadrant) {
    case 0:
      return angle_rad == 0 ? angle_rad : SinNearZero(x);  // keeps the sign of zero
    case 1:
      return CosNearZero(x);
    case 2:
      return -SinNearZero(x);
    default:
      return -CosNearZero(x);
  }
}

double Cos(double angle_rad) {
  if (!std::isfinite(angle_rad)) return kNotANumber;
  const auto [x, quadrant] = Reduce(angle_rad);
  switch (quadrant) {
    case 0:
      return CosNearZero(x);
    case 1:
      return -SinNearZero(x);
    case 2:
      return -CosNearZero(x);
    default:
      return SinNearZero(x);
  }
}

double Atan(double x) {
  if (x != x) return kNotANumber;
  return std::copysign(AtanPositive(std::abs(x)), x);
}

double Acos(double x) {
  if (!(std::abs(x) <= 1)) return kNotANumber;
  if (std::abs(x) <= 0.5) {
    const double asin = Atan(x / std::sqrt((1 - x) * (1 + x)));
    return kHalfPi.high - (asin - kHalfPi.low);
  }
  // Half-angle form: 1 - |x| is exact here, where cos is flat.
  const double half = AtanPositive(std::sqrt((1 - std::abs(x)) / (1 + std::abs(x))));
  return x > 0 ? 2 * half : kPi.high - (2 * half - kPi.low);
}

}  // namespace droidflow
