#include "droidflow/pipeline/options.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ConfigFile : public ::testing::Test {
 protected:
  Status Load(const std::string& text) {
    EXPECT_THAT(WriteFileAtomically(folder_ / "config.yaml", text), IsOk());
    return LoadConfig(folder_ / "config.yaml", options_);
  }

  TemporaryDirectory folder_;
  MetadataOptions options_;
};

TEST_F(ConfigFile, UnderstandsTheOriginalsKeys) {
  ASSERT_THAT(Load("droid_root: /raw\n"
                   "cam2base_extrinsics_path: /a/superset.json\n"
                   "finger_mesh_path: /a/finger.stl\n"
                   "output_root: /out\n"
                   "max_frames: null\n"
                   "num_track_points: 48\n"
                   "fps: 30\n"
                   "min_depth: 0.1\n"),
              IsOk());
  EXPECT_EQ(options_.input.droid_root, "/raw");
  EXPECT_EQ(options_.input.superset, "/a/superset.json");
  EXPECT_EQ(options_.track.finger_mesh, "/a/finger.stl");
  EXPECT_EQ(options_.out, "/out");
  EXPECT_EQ(options_.track.max_frames, std::nullopt);
  EXPECT_EQ(options_.track.points, 48);
  EXPECT_EQ(options_.track.fps, 30.0);
  EXPECT_EQ(options_.track.min_point_depth_m, 0.1);
}

TEST_F(ConfigFile, TakesListsAndNestedMappings) {
  ASSERT_THAT(Load("labs: [IRIS, TRI]\ngripper:\n  mount_xyz: [0.01, 0, -0.02]\n"), IsOk());
  EXPECT_THAT(options_.selection.labs, ElementsAre("IRIS", "TRI"));
  EXPECT_THAT(options_.track.mount_xyz_m, ElementsAre(0.01, 0.0, -0.02));
}

TEST_F(ConfigFile, SaysWhereItIsNotYaml) {
  EXPECT_THAT(Load("droid_root: /raw\nlabs: [IRIS\n"),
              FailsWith(ErrorKind::kUsage, AllOf(HasSubstr("line 3"), HasSubstr("config.yaml"))));
}

TEST_F(ConfigFile, RefusesAnUnknownKeyAndSaysWhere) {
  EXPECT_THAT(
      Load("droid_root: /raw\ndroid_rot: /raw\n"),
      FailsWith(ErrorKind::kUsage,
                AllOf(HasSubstr("unknown option 'droid_rot'"), HasSubstr("line 2, column 1"))));
}

TEST_F(ConfigFile, RefusesAValueOfTheWrongTypeAndShowsIt) {
  EXPECT_THAT(Load("workers: many\n"),
              FailsWith(ErrorKind::kUsage,
                        HasSubstr("workers: want a whole number from 1 to 1024, have 'many'")));
  EXPECT_THAT(Load("step_mm: .nan\n"), FailsWith(ErrorKind::kUsage, HasSubstr("have '.nan'")));
}

TEST_F(ConfigFile, ThatIsMissingIsNotFound) {
  EXPECT_THAT(LoadConfig(folder_ / "none.yaml", options_),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none.yaml")));
}

TEST_F(ConfigFile, PrintedReadsBackTheSame) {
  MetadataOptions options;
  ASSERT_THAT(SetOption("labs", "IRIS,TRI", options), IsOk());
  ASSERT_THAT(SetOption("out", "a: b # c", options), IsOk());  // must be quoted
  ASSERT_THAT(SetOption("step_mm", "0.1", options), IsOk());
  ASSERT_THAT(SetOption("limit", "-1", options), IsOk());
  ASSERT_THAT(SetOption("pose_time", "capture", options), IsOk());
  const std::string printed = FormatConfig(options);
  ASSERT_THAT(Load(printed), IsOk());
  EXPECT_EQ(FormatConfig(options_), printed);
  EXPECT_EQ(options_.out, "a: b # c");
  EXPECT_EQ(options_.track.step_mm, 0.1);
}

TEST(TrackOptions, CompatOriginalChangesDefaultsButNotWhatIsGiven) {
  TrackOptions options;
  options.compat = Compat::kOriginal;
  EXPECT_EQ(options.JointMaxRad(), 0.8);
  EXPECT_EQ(options.MinPointDepthM(), 0.1);
  EXPECT_EQ(options.FixedFps(), 30.0);
  options.min_point_depth_m = 0.02;
  options.fps = 15;
  EXPECT_EQ(options.MinPointDepthM(), 0.02);
  EXPECT_EQ(options.FixedFps(), 15.0);
}

TEST(TrackOptions, ConfigNamesAContactPointsFileByContentNotByPlace) {
  const TemporaryDirectory folder;
  ASSERT_THAT(WriteFileAtomically(folder / "a/points.npy", "123456789"), IsOk());
  ASSERT_THAT(WriteFileAtomically(folder / "b/points.npy", "123456789"), IsOk());
  TrackOptions options;
  options.contact_points = folder / "a/points.npy";
  const auto config = FormatTrackConfig(options);
  ASSERT_THAT(config, IsOk());
  // The check value of CRC-32: that of the digits 1 to 9.
  EXPECT_THAT(*config, HasSubstr("points.npy crc32=cbf43926"));
  options.contact_points = folder / "b/points.npy";
  EXPECT_EQ(*FormatTrackConfig(options), *config);
}

TEST_F(ConfigFile, RefusesAValueOutOfRangeAndSaysWhere) {
  EXPECT_THAT(Load("labs: IRIS\nfps: -1\n"),
              FailsWith(ErrorKind::kUsage,
                        AllOf(HasSubstr("fps: want a number more than 0, have '-1'"),
                              HasSubstr("line 2"))));
  EXPECT_THAT(Load("limit: -2\n"), FailsWith(ErrorKind::kUsage, HasSubstr("limit: want")));
  EXPECT_THAT(Load("workers: 0\n"), FailsWith(ErrorKind::kUsage, HasSubstr("workers: want")));
}

TEST(CheckOptions, RefusesTwoSourcesOfContactPoints) {
  MetadataOptions options;
  options.track.contact_points = "a.npy";
  options.track.finger_mesh = "b.stl";
  EXPECT_THAT(CheckOptions(options), FailsWith(ErrorKind::kUsage, HasSubstr("not both")));
}

TEST(RunPart, IsAnIndexBelowACount) {
  MetadataOptions options;
  options.out = "/o";
  EXPECT_EQ(options.RunDir(), "/o/.droidflow");
  ASSERT_THAT(SetOption("shard", "3/4", options), IsOk());
  EXPECT_EQ(options.selection.part, (RunPart{.index = 3, .count = 4}));
  EXPECT_EQ(options.RunDir(), "/o/.droidflow/shard-3-of-4");
  for (const char* const wrong : {"4/4", "-1/4", "0/0", "1", "1/", "/2", "1/2/3", "a/b"}) {
    EXPECT_THAT(SetOption("shard", wrong, options),
                FailsWith(ErrorKind::kUsage, HasSubstr("0/N to N-1/N")))
        << wrong;
  }
}

TEST(FormatConfig, WritesOutTheDefaultsInForce) {
  MetadataOptions options;
  options.out = "/o";
  EXPECT_THAT(FormatConfig(options),
              AllOf(HasSubstr("points: 480\n"),
                    HasSubstr("min_point_depth: 0.01\n"),
                    HasSubstr("run_dir: /o/.droidflow\n"),
                    HasSubstr("# fps:\n")));
}

}  // namespace
}  // namespace droidflow
