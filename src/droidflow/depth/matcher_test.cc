/// What every backend must do, and that the fast ones give the reference's bits on every
/// instruction set. DROIDFLOW_MATCHER_SEEDS: how many random cases (60).

#include "droidflow/depth/matcher.h"

#include "droidflow/core/environment.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sanitizers.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <hwy/targets.h>
#include <memory>
#include <new>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

std::atomic<std::size_t> allocations{0};

}  // namespace

// The sanitizers bring their own. Inline, GCC takes free for a mismatch of new.
#if !DF_SANITIZED
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  ++allocations;
  const auto multiple = static_cast<std::size_t>(alignment);
  if (void* const memory = std::aligned_alloc(multiple, (bytes / multiple + 1) * multiple)) {
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory,
                                       std::size_t /*bytes*/,
                                       std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
#endif

namespace droidflow {

void PrintTo(MatcherBackend backend, std::ostream* os) { *os << ToString(backend); }

namespace {

using ::testing::HasSubstr;
using ::testing::StrEq;

template <typename Value>
GrayImage PictureOf(int width_px, int height_px, Value value) {
  GrayImage picture(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      picture.at(x, y) = static_cast<std::uint8_t>(std::clamp<int>(value(x, y), 0, 255));
    }
  }
  return picture;
}

GrayImage Noise(int width_px, int height_px, unsigned seed, int most = 255) {
  std::mt19937 random(seed);
  return PictureOf(
      width_px, height_px, [&](int, int) { return static_cast<int>(random() % (most + 1)); });
}

/// Noise on a coarse grid, interpolated.
GrayImage SmoothNoise(int width_px, int height_px, unsigned seed) {
  constexpr int kGrid_px = 4;
  const GrayImage grid = Noise(width_px / kGrid_px + 2, height_px / kGrid_px + 2, seed);
  return PictureOf(width_px, height_px, [&](int x, int y) {
    const int u = x / kGrid_px;
    const int v = y / kGrid_px;
    const int a = x % kGrid_px;
    const int b = y % kGrid_px;
    return ((grid.at(u, v) * (kGrid_px - a) + grid.at(u + 1, v) * a) * (kGrid_px - b) +
            (grid.at(u, v + 1) * (kGrid_px - a) + grid.at(u + 1, v + 1) * a) * b) /
           (kGrid_px * kGrid_px);
  });
}

struct Pair {
  GrayImage left;
  GrayImage right;
};

enum class Kind {
  kNoise,     ///< pictures that have nothing in common
  kConstant,  ///< nothing but ties
  kRamp,
  kStripes,   ///< many disparities are as good as the best
  kExtremes,  ///< 0 and 255
  kPatches,   ///< like a real scene: smooth, in patches of their own disparities
};
constexpr int kKinds = 6;

Pair PairOf(Kind kind, int width_px, int height_px, unsigned seed) {
  std::mt19937 random(seed);
  const auto picture = [&](auto value) { return PictureOf(width_px, height_px, value); };
  switch (kind) {
    case Kind::kNoise:
      return {Noise(width_px, height_px, seed), Noise(width_px, height_px, seed + 1)};
    case Kind::kConstant: {
      const int value = static_cast<int>(random() % 256);
      return {picture([=](int, int) { return value; }), picture([=](int, int) { return value; })};
    }
    case Kind::kRamp: {
      const int slope = 1 + static_cast<int>(random() % 4);
      return {picture([=](int x, int y) { return slope * x + y; }),
              picture([=](int x, int y) { return slope * (x + 3) + y; })};
    }
    case Kind::kStripes: {
      const int period_px = 2 + static_cast<int>(random() % 9);
      const auto stripes = [=](int x, int y) { return (x + y / 7) % period_px * 255 / period_px; };
      return {picture(stripes), picture(stripes)};
    }
    case Kind::kExtremes:
      return {picture([&](int, int) { return random() % 2 == 0 ? 0 : 255; }),
              picture([](int x, int y) { return (x / 3 + y / 2) % 2 == 0 ? 0 : 255; })};
    case Kind::kPatches: {
      const GrayImage right = SmoothNoise(width_px, height_px, seed);
      const GrayImage disparities = Noise(width_px / 23 + 1, height_px / 11 + 1, seed + 1, 21);
      const GrayImage noise = Noise(width_px, height_px, seed + 2, 4);
      GrayImage left = picture([&](int x, int y) {
        const int from_x = std::max(0, x - disparities.at(x / 23, y / 11));
        return right.at(from_x, y) + noise.at(x, y) - 2;
      });
      return {std::move(left), picture([&](int x, int y) { return right.at(x, y); })};
    }
  }
  return {};
}

struct Matched {
  DisparityImage disparity_px16;
  GrayImage confidence;
};

Matched MatchWith(Matcher& matcher, GrayView left, GrayView right) {
  Matched matched;
  EXPECT_THAT(matcher.Match(left, right, matched.disparity_px16, &matched.confidence), IsOk());
  EXPECT_EQ(matched.disparity_px16.width_px(), left.width_px);
  EXPECT_EQ(matched.disparity_px16.height_px(), left.height_px);
  EXPECT_EQ(matched.confidence.width_px(), left.width_px);
  EXPECT_EQ(matched.confidence.height_px(), left.height_px);
  return matched;
}

Matched MatchOnce(MatcherBackend backend,
                  const MatcherOptions& options,
                  GrayView left,
                  GrayView right) {
  const Result<std::unique_ptr<Matcher>> matcher = MakeMatcher(backend, options);
  EXPECT_THAT(matcher, IsOk());
  return matcher ? MatchWith(**matcher, left, right) : Matched{};
}

/// Where two pictures first differ, and in how many pixels; nothing where they are the same.
template <typename T>
std::string DifferenceOf(const char* what, const Image<T>& want, const Image<T>& have) {
  if (want.width_px() != have.width_px() || want.height_px() != have.height_px()) {
    return fmt::format("{}: want {}x{}, have {}x{}",
                       what,
                       want.width_px(),
                       want.height_px(),
                       have.width_px(),
                       have.height_px());
  }
  std::string first;
  int count = 0;
  for (int y = 0; y < want.height_px(); ++y) {
    for (int x = 0; x < want.width_px(); ++x) {
      if (want.at(x, y) == have.at(x, y)) continue;
      if (count++ == 0) {
        first = fmt::format("{} at ({}, {}): want {}, have {}",
                            what,
                            x,
                            y,
                            static_cast<int>(want.at(x, y)),
                            static_cast<int>(have.at(x, y)));
      }
    }
  }
  return count == 0 ? "" : fmt::format("{}; {} pixels differ. ", first, count);
}

std::string DifferenceOf(const Matched& want, const Matched& have) {
  return DifferenceOf("disparity", want.disparity_px16, have.disparity_px16) +
         DifferenceOf("confidence", want.confidence, have.confidence);
}

int CountOfDisparities(const Matched& matched) {
  int count = 0;
  for (int y = 0; y < matched.disparity_px16.height_px(); ++y) {
    for (int x = 0; x < matched.disparity_px16.width_px(); ++x) {
      if (matched.disparity_px16.at(x, y) != kNoDisparity_px16) ++count;
    }
  }
  return count;
}

/// Calls it for each instruction set that a backend has here.
template <typename Function>
void OnEveryTarget(MatcherBackend backend, Function function) {
  if (backend != MatcherBackend::kCpu) {
    function();
    return;
  }
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    function();
  }
  hwy::SetSupportedTargetsForTest(0);
}

/// A pair and options to find its disparities with, all from a seed.
struct Case {
  Kind kind = Kind::kPatches;
  int width_px = 0;
  int height_px = 0;
  unsigned seed = 0;
  MatcherOptions options;
};

std::string Describe(const Case& c) {
  const MatcherOptions& o = c.options;
  return fmt::format(
      "kind {} {}x{} seed {}; disparities {} … {}, half {}, paths {}, p1 {}, p2 {} … {}, unique "
      "{}, "
      "lr {}, subpixel {}, median {}, speckle {} {}",
      static_cast<int>(c.kind),
      c.width_px,
      c.height_px,
      c.seed,
      o.min_disparity_px,
      o.max_disparity_px,
      o.half_size,
      o.paths,
      o.p1,
      o.p2_min,
      o.p2,
      o.uniqueness_percent,
      o.lr_check_px,
      o.subpixel,
      o.median,
      o.speckle_area_px,
      o.speckle_range_px);
}

MatcherOptions RandomOptions(std::mt19937& random, int most_disparities) {
  const auto from_to = [&](int least, int most) {
    return least + static_cast<int>(random() % static_cast<unsigned>(most - least + 1));
  };
  const auto often = [&] { return random() % 4 != 0; };
  MatcherOptions options;
  options.max_disparity_px = from_to(1, most_disparities);
  if (!often()) {
    options.min_disparity_px = from_to(0, std::min(40, options.max_disparity_px - 1));
  }
  options.half_size = !often();
  options.paths = random() % 2 == 0 ? 5 : 8;
  if (!often()) {
    options.p2 = from_to(1, 27);
    options.p2_min = from_to(1, options.p2);
    options.p1 = from_to(1, options.p2_min);
  }
  options.uniqueness_percent = often() ? from_to(0, 30) : from_to(0, 99);
  options.lr_check_px = from_to(-1, 4);
  options.subpixel = often();
  options.median = often();
  options.speckle_area_px = often() ? from_to(0, 30) : from_to(0, 3000);
  options.speckle_range_px = from_to(0, 3);
  return options;
}

std::string NameOf(const ::testing::TestParamInfo<MatcherBackend>& info) {
  return std::string(ToString(info.param));
}

/// Skips what this build or machine does not have; the CPU always has its backends.
class OfBackend : public ::testing::TestWithParam<MatcherBackend> {
 protected:
  void SetUp() override {
    if (!IsAvailable(GetParam())) {
      GTEST_SKIP() << "this build or machine has no " << ToString(GetParam());
    }
  }
  void TearDown() override { hwy::SetSupportedTargetsForTest(0); }

  static Matched Match(const MatcherOptions& options, GrayView left, GrayView right) {
    return MatchOnce(GetParam(), options, left, right);
  }
};

class MatcherTest : public OfBackend {};
INSTANTIATE_TEST_SUITE_P(Backends,
                         MatcherTest,
                         ::testing::Values(MatcherBackend::kReference,
                                           MatcherBackend::kCpu,
                                           MatcherBackend::kCuda),
                         NameOf);

TEST_P(MatcherTest, FindsTheShiftOfAPicture) {
  constexpr int kBorder_px = 5;  // of the census, and one of the median
  for (const int shift_px : {0, 1, 7, 19}) {
    for (const int paths : {5, 8}) {
      const GrayImage left = Noise(131, 37, 1);
      const GrayImage other = Noise(131, 37, 2);
      const GrayImage right = PictureOf(131, 37, [&](int x, int y) {
        return x + shift_px < 131 ? left.at(x + shift_px, y) : other.at(x, y);
      });
      const Matched matched = Match(
          {.max_disparity_px = 32, .paths = paths, .subpixel = false}, left.view(), right.view());
      for (int y = 0; y < 37; ++y) {
        for (int x = shift_px + kBorder_px; x < 131 - kBorder_px; ++x) {
          ASSERT_EQ(matched.disparity_px16.at(x, y), kDisparityScale * shift_px)
              << shift_px << ' ' << paths << " at " << x << ' ' << y;
          ASSERT_GT(matched.confidence.at(x, y), 128);
        }
      }
    }
  }
}

TEST_P(MatcherTest, FindsPlanesAndDropsWhatOneEyeDoesNotSee) {
  constexpr int kWidth_px = 240;
  constexpr int kHeight_px = 120;
  constexpr int kNear_px = 26;
  constexpr int kFar_px = 6;
  const GrayImage far = SmoothNoise(kWidth_px, kHeight_px, 3);
  const GrayImage near = SmoothNoise(kWidth_px, kHeight_px, 4);
  // On the left a board covers columns 90 … 179, on the right 64 … 153.
  const auto has_board = [](int x, int y) { return x >= 90 && x < 180 && y >= 25 && y < 95; };
  const GrayImage left = PictureOf(kWidth_px, kHeight_px, [&](int x, int y) {
    return has_board(x, y) ? near.at(x - kNear_px, y) : far.at(std::max(0, x - kFar_px), y);
  });
  const GrayImage right = PictureOf(kWidth_px, kHeight_px, [&](int x, int y) {
    return has_board(x + kNear_px, y) ? near.at(x, y) : far.at(x, y);
  });
  for (const bool half_size : {false, true}) {
    MatcherOptions options;
    options.max_disparity_px = 64;
    options.half_size = half_size;
    const Matched matched = Match(options, left.view(), right.view());
    int visible = 0;
    int good = 0;
    int hidden = 0;
    int kept = 0;
    for (int y = 0; y < kHeight_px; ++y) {
      for (int x = kFar_px; x < kWidth_px; ++x) {
        const int d_px16 = matched.disparity_px16.at(x, y);
        const bool is_near = has_board(x, y);
        if (!is_near && has_board(x - kFar_px + kNear_px, y)) {
          ++hidden;
          if (d_px16 != kNoDisparity_px16) ++kept;
          continue;
        }
        ++visible;
        const int truth_px16 = kDisparityScale * (is_near ? kNear_px : kFar_px);
        if (std::abs(d_px16 - truth_px16) <= kDisparityScale) ++good;
      }
    }
    EXPECT_EQ(hidden, (kNear_px - kFar_px) * 70);
    EXPECT_GE(good, visible * (half_size ? 0.97 : 0.99)) << good << " of " << visible;
    EXPECT_LE(kept, hidden * 0.3) << kept << " of " << hidden;
  }
}

TEST_P(MatcherTest, DoesNotSeeHowBrightAPictureIs) {
  const Pair pair = PairOf(Kind::kPatches, 83, 31, 5);
  const auto brighter = [](const GrayImage& picture, int by) {
    return PictureOf(83, 31, [&](int x, int y) { return picture.at(x, y) * 7 / 8 + by; });
  };
  const MatcherOptions options{.max_disparity_px = 40};
  const GrayImage left = brighter(pair.left, 0);
  const Matched matched = Match(options, left.view(), brighter(pair.right, 0).view());
  EXPECT_GT(CountOfDisparities(matched), 83 * 31 / 2);
  EXPECT_EQ(DifferenceOf(matched, Match(options, left.view(), brighter(pair.right, 20).view())),
            "");
  EXPECT_EQ(
      DifferenceOf(matched,
                   Match(options, brighter(pair.left, 20).view(), brighter(pair.right, 0).view())),
      "");
}

TEST_P(MatcherTest, LooksNoFartherThanThePictureIsWide) {
  const Pair pair = PairOf(Kind::kPatches, 65, 21, 6);
  for (const int paths : {5, 8}) {
    MatcherOptions options{.max_disparity_px = 65, .paths = paths};
    const Matched matched = Match(options, pair.left.view(), pair.right.view());
    for (const int max_px : {66, 128, 300, 1024}) {
      options.max_disparity_px = max_px;
      EXPECT_EQ(DifferenceOf(matched, Match(options, pair.left.view(), pair.right.view())), "")
          << max_px;
    }
  }
}

TEST_P(MatcherTest, FindsNothingOutsideItsRange) {
  const Pair pair = PairOf(Kind::kPatches, 97, 25, 7);
  for (const bool half_size : {false, true}) {
    MatcherOptions options{.min_disparity_px = 9, .max_disparity_px = 14, .half_size = half_size};
    Matched matched = Match(options, pair.left.view(), pair.right.view());
    EXPECT_GT(CountOfDisparities(matched), 0);
    for (int y = 0; y < 25; ++y) {
      for (int x = 0; x < 97; ++x) {
        const int d_px16 = matched.disparity_px16.at(x, y);
        if (d_px16 == kNoDisparity_px16) {
          ASSERT_EQ(matched.confidence.at(x, y), 0);
        } else {
          ASSERT_GE(d_px16, 16 * 9);
          ASSERT_LE(d_px16, 16 * 13);
        }
      }
    }
    options.lr_check_px = -1;  // which drops most of what is guessed
    options.max_disparity_px = 33;
    for (options.min_disparity_px = 0; options.min_disparity_px < 33; ++options.min_disparity_px) {
      matched = Match(options, pair.left.view(), pair.right.view());
      for (int y = 0; y < 25; ++y) {
        for (int x = 0; x < 97; ++x) {
          ASSERT_LE(matched.disparity_px16.at(x, y), 16 * x) << options.min_disparity_px;
        }
      }
    }
  }
  // Farther left than the picture goes.
  const Matched nothing =
      Match({.min_disparity_px = 97, .max_disparity_px = 120}, pair.left.view(), pair.right.view());
  EXPECT_EQ(CountOfDisparities(nothing), 0);
}

TEST_P(MatcherTest, TakesTheSmallestWhereAllLookAlike) {
  const Pair pair = PairOf(Kind::kConstant, 41, 9, 8);
  const MatcherOptions options{.min_disparity_px = 2,
                               .max_disparity_px = 30,
                               .uniqueness_percent = 0,
                               .lr_check_px = 0,
                               .median = false,
                               .speckle_area_px = 0};
  const Matched matched = Match(options, pair.left.view(), pair.right.view());
  for (int y = 0; y < 9; ++y) {
    for (int x = 0; x < 41; ++x) {
      ASSERT_EQ(matched.disparity_px16.at(x, y), x < 2 ? kNoDisparity_px16 : 32) << x << ' ' << y;
      // Nothing costs anything but to come to another disparity than that of column 2.
      ASSERT_EQ(matched.confidence.at(x, y), x < 2 ? 0 : 255) << x << ' ' << y;
    }
  }
}

TEST_P(MatcherTest, GivesTheSameTwiceAndAfterOtherSizes) {
  const MatcherOptions options{.max_disparity_px = 48, .paths = 8, .speckle_area_px = 20};
  const Result<std::unique_ptr<Matcher>> matcher = MakeMatcher(GetParam(), options);
  ASSERT_THAT(matcher, IsOk());
  for (const auto& [width_px, height_px] : {std::pair{70, 19},
                                            std::pair{70, 19},
                                            std::pair{33, 40},
                                            std::pair{1, 1},
                                            std::pair{121, 7},
                                            std::pair{7, 121},
                                            std::pair{70, 19}}) {
    const Pair pair = PairOf(Kind::kPatches, width_px, height_px, 9);
    const Matched fresh = Match(options, pair.left.view(), pair.right.view());
    EXPECT_EQ(DifferenceOf(fresh, MatchWith(**matcher, pair.left.view(), pair.right.view())), "")
        << width_px << 'x' << height_px;
  }
}

TEST_P(MatcherTest, GivesTheSameWithoutConfidence) {
  for (const bool half_size : {false, true}) {
    const Pair pair = PairOf(Kind::kPatches, 71, 20, 10);
    const Result<std::unique_ptr<Matcher>> matcher =
        MakeMatcher(GetParam(), {.max_disparity_px = 40, .half_size = half_size});
    ASSERT_THAT(matcher, IsOk());
    const Matched with = MatchWith(**matcher, pair.left.view(), pair.right.view());
    DisparityImage without_px16;
    ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), without_px16, nullptr),
                IsOk());
    EXPECT_EQ(DifferenceOf("disparity", with.disparity_px16, without_px16), "");
  }
}

TEST_P(MatcherTest, ReadsHalvesOfAPictureWhereTheyLie) {
  const Pair pair = PairOf(Kind::kPatches, 67, 23, 11);
  const GrayImage both = PictureOf(5 + 2 * 67, 23, [&](int x, int y) {
    if (x < 67) return static_cast<int>(pair.left.at(x, y));
    return x < 72 ? 77 : static_cast<int>(pair.right.at(x - 72, y));
  });
  for (const bool half_size : {false, true}) {
    const MatcherOptions options{.max_disparity_px = 40, .half_size = half_size};
    EXPECT_EQ(DifferenceOf(Match(options, pair.left.view(), pair.right.view()),
                           Match(options, both.view().Columns(0, 67), both.view().Columns(72, 67))),
              "");
  }
}

TEST_P(MatcherTest, RefusesPicturesOfTwoSizesOrNone) {
  const Result<std::unique_ptr<Matcher>> matcher = MakeMatcher(GetParam(), {});
  ASSERT_THAT(matcher, IsOk());
  DisparityImage disparity_px16;
  const auto match = [&](const GrayImage& left, const GrayImage& right) {
    return (*matcher)->Match(left.view(), right.view(), disparity_px16, nullptr);
  };
  EXPECT_THAT(
      match(Noise(8, 6, 1), Noise(8, 7, 1)),
      FailsWith(ErrorKind::kUsage, StrEq("want two pictures of one size, have 8x6 and 8x7")));
  EXPECT_THAT(match(Noise(8, 6, 1), Noise(9, 6, 1)),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 8x6 and 9x6")));
  EXPECT_THAT(match(GrayImage(), GrayImage()),
              FailsWith(ErrorKind::kUsage, StrEq("want pictures with pixels, have 0x0")));
  EXPECT_THAT(match(GrayImage(0, 5), GrayImage(0, 5)),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 0x5")));
}

TEST_P(MatcherTest, RefusesOptionsOutOfRange) {
  const auto refused = [](const MatcherOptions& options, const char* message) {
    EXPECT_THAT(MakeMatcher(GetParam(), options), FailsWith(ErrorKind::kUsage, StrEq(message)));
    EXPECT_THAT(CheckMatcherOptions(options), FailsWith(ErrorKind::kUsage, StrEq(message)));
  };
  refused({.max_disparity_px = 0}, "max disparity: want 1 … 1024, have 0");
  refused({.max_disparity_px = 1025}, "max disparity: want 1 … 1024, have 1025");
  refused({.min_disparity_px = -1}, "min disparity: want 0 … 255, have -1");
  refused({.min_disparity_px = 64, .max_disparity_px = 64}, "min disparity: want 0 … 63, have 64");
  refused({.paths = 4}, "paths: want 5 or 8, have 4");
  refused({.p2 = 28}, "P2: want 1 … 27, have 28");
  refused({.p2_min = 21, .p2 = 20}, "least P2: want 1 … 20, have 21");
  refused({.p1 = 0}, "P1: want 1 … 8, have 0");
  refused({.p1 = 9, .p2_min = 8}, "P1: want 1 … 8, have 9");
  refused({.uniqueness_percent = 100}, "uniqueness: want 0 … 99, have 100");
  refused({.lr_check_px = -2}, "left-right check: want -1 … 4, have -2");
  refused({.lr_check_px = 5}, "left-right check: want -1 … 4, have 5");
  refused({.speckle_area_px = -1}, "speckle area: want 0 … 8388608, have -1");
  refused({.speckle_range_px = -1}, "speckle range: want 0 … 1024, have -1");
}

TEST_P(MatcherTest, TakesNoMemoryAfterTheFirstPairOfASize) {
  if (DF_SANITIZED) GTEST_SKIP() << "sanitizers take memory themselves";
  if (GetParam() == MatcherBackend::kReference) GTEST_SKIP() << "the reference does take memory";
  for (const bool half_size : {false, true}) {
    const MatcherOptions options{
        .max_disparity_px = 70, .half_size = half_size, .paths = 8, .speckle_area_px = 9};
    const Pair first = PairOf(Kind::kConstant, 163, 49, 12);
    const Pair second = PairOf(Kind::kPatches, 163, 49, 13);  // with more patches than the first
    OnEveryTarget(GetParam(), [&] {
      const Result<std::unique_ptr<Matcher>> matcher = MakeMatcher(GetParam(), options);
      ASSERT_THAT(matcher, IsOk());
      Matched matched = MatchWith(**matcher, first.left.view(), first.right.view());
      const std::size_t before = allocations;
      const Status status = (*matcher)->Match(
          second.left.view(), second.right.view(), matched.disparity_px16, &matched.confidence);
      const std::size_t after = allocations;
      ASSERT_THAT(status, IsOk());
      EXPECT_EQ(after - before, 0U);
    });
  }
}

class FastMatcherTest : public OfBackend {
 protected:
  enum class On { kEveryTarget, kTheBestTarget };

  static void EqualsTheReference(const Case& c, On on = On::kEveryTarget) {
    SCOPED_TRACE(Describe(c));
    const Pair pair = PairOf(c.kind, c.width_px, c.height_px, c.seed);
    const Matched want =
        MatchOnce(MatcherBackend::kReference, c.options, pair.left.view(), pair.right.view());
    const auto compare = [&] {
      EXPECT_EQ(DifferenceOf(want, Match(c.options, pair.left.view(), pair.right.view())), "");
    };
    if (on == On::kEveryTarget) {
      OnEveryTarget(GetParam(), compare);
    } else {
      compare();
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Backends,
                         FastMatcherTest,
                         ::testing::Values(MatcherBackend::kCpu, MatcherBackend::kCuda),
                         NameOf);

TEST_P(FastMatcherTest, EqualsTheReferenceOnSizesNoVectorDivides) {
  std::mt19937 random(20);
  unsigned seed = 100;
  for (const auto& [width_px, height_px] :
       {std::pair{1, 1}, {2, 1},  {1, 2},  {3, 3},  {1, 9},    {9, 1},   {5, 4},   {8, 8},
        {17, 5},         {15, 7}, {16, 3}, {31, 2}, {33, 9},   {64, 3},  {65, 31}, {63, 16},
        {128, 5},        {5, 70}, {2, 33}, {3, 64}, {127, 13}, {257, 6}, {631, 7}}) {
    for (int i = 0; i < (DF_SANITIZED ? 1 : 3); ++i) {
      EqualsTheReference({.kind = i == 0 ? Kind::kPatches : static_cast<Kind>(random() % kKinds),
                          .width_px = width_px,
                          .height_px = height_px,
                          .seed = ++seed,
                          .options = RandomOptions(random, 100)});
    }
  }
}

TEST_P(FastMatcherTest, EqualsTheReferenceForAnyCountOfDisparities) {
  std::mt19937 random(21);
  unsigned seed = 200;
  for (const int count : {1,  2,  3,  7,  8,   15,  16,  17,  31,  32,  33,  63,
                          64, 65, 95, 96, 100, 127, 128, 129, 200, 255, 256, 257}) {
    for (const int min_px : {0, 1, 5, 16}) {
      if (DF_SANITIZED && min_px % 5 != 0) continue;
      MatcherOptions options = RandomOptions(random, 1);
      options.min_disparity_px = min_px;
      options.max_disparity_px = min_px + count;
      EqualsTheReference({.kind = static_cast<Kind>(random() % kKinds),
                          .width_px = count + static_cast<int>(random() % 40),
                          .height_px = 2 + static_cast<int>(random() % 6),
                          .seed = ++seed,
                          .options = options});
    }
  }
  for (const int count : {511, 512, 513, 1024}) {
    EqualsTheReference(
        {.width_px = 523, .height_px = 2, .seed = ++seed, .options = {.max_disparity_px = count}});
  }
}

TEST_P(FastMatcherTest, EqualsTheReferenceOnEveryKindOfPicture) {
  unsigned seed = 300;
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const MatcherPreset preset :
         {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
      MatcherOptions options = OptionsOf(preset);
      options.max_disparity_px = 64;
      EqualsTheReference({.kind = static_cast<Kind>(kind),
                          .width_px = 127,
                          .height_px = 33,
                          .seed = ++seed,
                          .options = options});
      options.uniqueness_percent = 0;  // or nothing is left of ties
      options.lr_check_px = -1;
      options.speckle_area_px = 5;
      EqualsTheReference({.kind = static_cast<Kind>(kind),
                          .width_px = 127,
                          .height_px = 33,
                          .seed = ++seed,
                          .options = options});
    }
  }
}

TEST_P(FastMatcherTest, EqualsTheReferenceOnAWholePicture) {
  constexpr int kShrunk = DF_SANITIZED ? 8 : 1;
  EqualsTheReference({.width_px = 1931 / kShrunk,
                      .height_px = 1083 / kShrunk,
                      .seed = 400,
                      .options = {.min_disparity_px = 2, .max_disparity_px = 9}},
                     On::kTheBestTarget);  // scalars take a while
  EqualsTheReference({.width_px = 631 / kShrunk,
                      .height_px = 23,
                      .seed = 401,
                      .options = {.max_disparity_px = 256, .paths = 8}});
}

TEST_P(FastMatcherTest, EqualsTheReferenceWhateverIsAsked) {
  const auto text = EnvironmentVariable("DROIDFLOW_MATCHER_SEEDS");
  const int cases = text ? std::max(1, std::atoi(text->c_str())) : DF_SANITIZED ? 15 : 60;
  std::mt19937 random(22);
  for (int i = 0; i < cases && !HasFailure(); ++i) {
    const int most_disparities = std::vector<int>{4, 33, 80, 300}.at(random() % 4);
    EqualsTheReference({.kind = static_cast<Kind>(random() % kKinds),
                        .width_px = 1 + static_cast<int>(random() % 150),
                        .height_px = 1 + static_cast<int>(random() % 40),
                        .seed = 1000U + static_cast<unsigned>(i),
                        .options = RandomOptions(random, most_disparities)});
  }
}

}  // namespace
}  // namespace droidflow
