#include "droidflow/tracks/resample.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cmath>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Centroids on the x axis.
std::vector<Eigen::Vector3f> Along(std::initializer_list<float> x_m) {
  std::vector<Eigen::Vector3f> centroids;
  for (const float x : x_m) centroids.emplace_back(x, 0, 0);
  return centroids;
}

Result<ResamplePlan> Plan(std::initializer_list<float> x_m, double step_m) {
  return PlanResample(Along(x_m), step_m, DistancePrecision::kFloat64);
}

TEST(PlanResample, GivesTheNumbersWorkedByHand) {
  // Path 6 m in steps of 2 m, with a rest at 3 m. Frames 1 and 2 are as near to one step as to the
  // next.
  const Result<ResamplePlan> plan = Plan({0, 1, 3, 3, 6}, 2);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->cumulative_distance_m, ElementsAre(0, 1, 3, 3, 6));
  EXPECT_THAT(plan->steps,
              ElementsAre(FrameBlend{0, 0, 0},
                          FrameBlend{1, 2, 0.5},
                          FrameBlend{3, 4, 1.0 / 3},
                          FrameBlend{3, 4, 1}));
  EXPECT_THAT(plan->frame_to_step, ElementsAre(0, 0, 1, 1, 3));
}

TEST(PlanResample, SpreadsStepsEvenlyBetweenBothEnds) {
  const Result<ResamplePlan> plan = Plan({0, 5}, 2);  // ceil(5 / 2) + 1 = 4 steps, 5/3 m apart
  ASSERT_THAT(plan, IsOk());
  ASSERT_EQ(plan->steps.size(), 4);
  EXPECT_NEAR(plan->steps[1].weight, 1.0 / 3, 1e-15);
  EXPECT_NEAR(plan->steps[2].weight, 2.0 / 3, 1e-15);
  EXPECT_EQ(plan->steps[3], (FrameBlend{0, 1, 1}));
}

TEST(PlanResample, MeasuresThePathAndNotThePlace) {
  const Result<ResamplePlan> plan = Plan({0, 3, 0}, 3);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->cumulative_distance_m, ElementsAre(0, 3, 6));
  EXPECT_THAT(plan->frame_to_step, ElementsAre(0, 1, 2));
}

TEST(PlanResample, OneFrameIsOneStep) {
  const Result<ResamplePlan> plan = Plan({7}, 0.001);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->cumulative_distance_m, ElementsAre(0));
  EXPECT_THAT(plan->steps, ElementsAre(FrameBlend{0, 0, 0}));
  EXPECT_THAT(plan->frame_to_step, ElementsAre(0));
}

TEST(PlanResample, APathShorterThanAStepKeepsItsEnds) {
  const Result<ResamplePlan> plan = Plan({0, 0.25, 0.5, 0.5, 0.75}, 1);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->cumulative_distance_m, ElementsAre(0, 0.25, 0.5, 0.5, 0.75));
  EXPECT_THAT(plan->steps, ElementsAre(FrameBlend{0, 0, 0}, FrameBlend{4, 4, 0}));
  EXPECT_THAT(plan->frame_to_step, ElementsAre(0, 0, 1, 1, 1));  // from frame 5 / 2 on
}

TEST(PlanResample, AnIdleEpisodeKeepsItsEndsToo) {
  const Result<ResamplePlan> plan = Plan({1, 1}, 0.001);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->steps, ElementsAre(FrameBlend{0, 0, 0}, FrameBlend{1, 1, 0}));
}

TEST(PlanResample, APathOfExactlyOneStepHasTwo) {
  const Result<ResamplePlan> plan = Plan({0, 1}, 1);
  ASSERT_THAT(plan, IsOk());
  EXPECT_THAT(plan->steps, ElementsAre(FrameBlend{0, 0, 0}, FrameBlend{0, 1, 1}));
}

TEST(PlanResample, FloatSumsRoundAsTheOriginals) {
  // 2^24 + 1 + 1: a float32 sum stays at 2^24.
  const std::vector<Eigen::Vector3f> centroids_m = {
      {0, 0, 0}, {16777216, 0, 0}, {16777216, 1, 0}, {16777216, 2, 0}};
  EXPECT_THAT(PlanResample(centroids_m, 1e7, DistancePrecision::kFloat32)->cumulative_distance_m,
              ElementsAre(0, 16777216, 16777216, 16777216));
  EXPECT_THAT(PlanResample(centroids_m, 1e7, DistancePrecision::kFloat64)->cumulative_distance_m,
              ElementsAre(0, 16777216, 16777217, 16777218));
}

// The nearest step by looking at every one: NumPy's argmin, which takes the first on a tie.
TEST(PlanResample, AgreesWithNumPy) {
  const std::vector<double> numbers = NumbersFromPython(R"(
import numpy as np
rng = np.random.default_rng(6)
moves = rng.normal(size=(300, 3)) * 0.004 * (rng.uniform(size=(300, 1)) > 0.3)
centroids = np.cumsum(moves, axis=0).astype(np.float32)
d = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centroids.astype(float), axis=0), axis=1))])
targets = np.linspace(0, d[-1], int(np.ceil(d[-1] / 0.001)) + 1)
index = np.abs(d[:, None] - targets[None]).argmin(axis=1)
x = [np.interp(targets, d, centroids[:, k]) for k in range(3)]
for value in [len(targets), *centroids.ravel(), *d, *index, *np.stack(x, 1).ravel()]:
    print(repr(float(value)))
)");
  constexpr std::size_t kFrames = 300;
  std::vector<Eigen::Vector3f> centroids_m;
  for (std::size_t i = 0; i < kFrames; ++i) {
    centroids_m.emplace_back(numbers[1 + 3 * i], numbers[2 + 3 * i], numbers[3 + 3 * i]);
  }
  const Result<ResamplePlan> plan = PlanResample(centroids_m, 0.001, DistancePrecision::kFloat64);
  ASSERT_THAT(plan, IsOk());
  ASSERT_EQ(plan->steps.size(), numbers[0]);
  const double* distance_m = numbers.data() + 1 + 3 * kFrames;
  const double* index = distance_m + kFrames;
  const double* position_m = index + kFrames;
  for (std::size_t i = 0; i < kFrames; ++i) {
    EXPECT_NEAR(plan->cumulative_distance_m[i], distance_m[i], 1e-14);
    EXPECT_EQ(plan->frame_to_step[i], index[i]) << i;
  }
  for (std::size_t m = 0; m < plan->steps.size(); ++m) {
    const auto& [before, after, weight] = plan->steps[m];
    const Vector3 have_m = (1 - weight) * centroids_m[before].cast<double>() +
                           weight * centroids_m[after].cast<double>();
    EXPECT_LT((have_m - Eigen::Map<const Vector3>(position_m + 3 * m)).norm(), 1e-12) << m;
  }
}

TEST(PlanResample, ARealPathShorterThanAStepKeepsItsEnds) {
  const std::string file =
      "data/golden/expected/REAL/success/2023-06-19/Mon_Jun_19_19:24:15_2023/tracks.npz";
  DF_NEEDS_SHARED(file);
  const std::vector<double> numbers =
      NumbersFromPython("import numpy as np\nfor v in np.load('" + SharedPath(file).string() +
                        "')['contact_centroids'].ravel():\n    print(repr(float(v)))\n");
  std::vector<Eigen::Vector3f> centroids_m;
  for (std::size_t i = 0; i < numbers.size(); i += 3) {
    centroids_m.emplace_back(numbers[i], numbers[i + 1], numbers[i + 2]);
  }
  ASSERT_EQ(centroids_m.size(), 40);
  const Result<ResamplePlan> plan = PlanResample(centroids_m, 0.002, DistancePrecision::kFloat64);
  ASSERT_THAT(plan, IsOk());
  EXPECT_NEAR(plan->cumulative_distance_m.back(), 0.00147, 0.000005);
  EXPECT_THAT(plan->steps, ElementsAre(FrameBlend{0, 0, 0}, FrameBlend{39, 39, 0}));
  for (std::size_t frame = 0; frame < 40; ++frame) {
    EXPECT_EQ(plan->frame_to_step[frame], frame < 20 ? 0 : 1);
  }
}

TEST(PlanResample, RefusesPathsThatAreNotFinite) {
  for (const float x : {INFINITY, NAN}) {
    EXPECT_THAT(Plan({0, x}, 0.001), FailsAs("bad_values", HasSubstr("want a path of fewer than")));
  }
}

TEST(PlanResample, RefusesMoreStepsThanAnyEpisodeHas) {
  EXPECT_THAT(Plan({0, 20'000}, 0.001),
              FailsAs("bad_values", AllOf(HasSubstr("of 0.001 m"), HasSubstr("have 20000 m"))));
}

const std::vector<Vector3> kTwoPoints_m = {{-0.0078, -0.01, 0.01}, {-0.0078, 0.01, 0.01}};

// A hand that points down, moves and turns through the angle where Euler angles jump.
ContactTrack TrackOfTwoPoints() {
  std::vector<Transform> T_base_ee;
  T_base_ee.reserve(5);
  for (int i = 0; i < 5; ++i) {
    T_base_ee.push_back(TransformFromPoseVector({0.1 * i, 0, 0.3, 3.1 + 0.03 * i, 0.1, 0.5 * i}));
  }
  return ContactTrack(T_base_ee, std::vector{0.0, 0.2, 0.4, 0.6, 1.0}, {}, kTwoPoints_m);
}

TEST(ResampledTrack, IsTheTrackItselfAtItsEnds) {
  const ContactTrack track = TrackOfTwoPoints();
  const Result<ResamplePlan> plan =
      PlanResample(CentroidsAsStored(track), 0.01, DistancePrecision::kFloat64);
  ASSERT_THAT(plan, IsOk());
  ResampledTrack resampled(track, *plan);
  const std::size_t last = resampled.step_count() - 1;
  std::vector<float> want_m(12);
  std::vector<float> have_m(12);
  for (const auto& [step, frame] : {std::pair{std::size_t{0}, std::size_t{0}}, {last, 4}}) {
    EXPECT_LT((resampled.Centroid(step) - track.Centroid(frame)).norm(), 1e-15);
    const auto same = [](const Transform& a, const Transform& b) {
      return (a.matrix() - b.matrix()).norm() < 1e-14;
    };
    EXPECT_TRUE(same(resampled.ContactFrame(step), track.ContactFrame(frame)));
    EXPECT_TRUE(same(resampled.LeftContactFrame(step), track.LeftContactFrame(frame)));
    EXPECT_TRUE(same(resampled.RightContactFrame(step), track.RightContactFrame(frame)));
    resampled.PointsAt(step, have_m);
    track.PointsAt(frame, std::span<float>(want_m));
    EXPECT_EQ(have_m, want_m);
  }
}

TEST(ResampledTrack, BlendsPointsLinearlyAndRotationsOnTheSphere) {
  const ContactTrack track = TrackOfTwoPoints();
  ResamplePlan plan;
  plan.frame_to_step.resize(track.frame_count());
  plan.steps = {{.before = 2, .after = 3, .weight = 0.25}};
  ResampledTrack resampled(track, plan);
  const Transform before = track.ContactFrame(2);
  const Transform after = track.ContactFrame(3);
  const Transform between = resampled.ContactFrame(0);
  EXPECT_LT(
      (between.translation() - (0.75 * before.translation() + 0.25 * after.translation())).norm(),
      1e-15);
  // A quarter of the turn from before to after, about the same axis.
  const Eigen::AngleAxisd whole(Matrix3(before.linear().transpose() * after.linear()));
  const Eigen::AngleAxisd part(Matrix3(before.linear().transpose() * between.linear()));
  EXPECT_NEAR(part.angle(), whole.angle() / 4, 1e-12);
  EXPECT_NEAR(part.axis().dot(whole.axis()), 1, 1e-12);

  std::vector<double> a_m(12);
  std::vector<double> b_m(12);
  std::vector<float> have_m(12);
  track.PointsAt(2, std::span<double>(a_m));
  track.PointsAt(3, std::span<double>(b_m));
  resampled.PointsAt(0, have_m);
  for (std::size_t i = 0; i < have_m.size(); ++i) {
    EXPECT_FLOAT_EQ(have_m[i], static_cast<float>(0.75 * a_m[i] + 0.25 * b_m[i]));
  }
}

TEST(ResampledTrack, GivesTheSamePointsInAnyOrder) {
  const ContactTrack track = TrackOfTwoPoints();
  const Result<ResamplePlan> plan =
      PlanResample(CentroidsAsStored(track), 0.05, DistancePrecision::kFloat64);
  ASSERT_THAT(plan, IsOk());
  ResampledTrack forwards(track, *plan);
  std::vector<std::vector<float>> points_m;
  for (std::size_t step = 0; step < forwards.step_count(); ++step) {
    forwards.PointsAt(step, points_m.emplace_back(12));
  }
  ResampledTrack backwards(track, *plan);
  std::vector<float> have_m(12);
  for (std::size_t step = points_m.size(); step-- > 0;) {
    backwards.PointsAt(step, have_m);
    EXPECT_EQ(have_m, points_m[step]) << step;
  }
}

}  // namespace
}  // namespace droidflow
