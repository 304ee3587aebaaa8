#include "droidflow/episode/episode.h"

#include "droidflow/core/result_matchers.h"

namespace droidflow {
namespace {

using ::testing::HasSubstr;

TEST(ParseEpisodeId, TakesAUuidApart) {
  const EpisodeId want{.lab = "AUTOLab",
                       .code = "5d05c5aa",
                       .year = 2023,
                       .month = 8,
                       .day = 12,
                       .hour = 16,
                       .minute = 26,
                       .second = 7};
  const Result<EpisodeId> id = ParseEpisodeId("AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s");
  ASSERT_THAT(id, IsOk());
  EXPECT_EQ(*id, want);
}

TEST(ParseEpisodeId, AcceptsLabsAndCodesOfAnyKind) {
  const Result<EpisodeId> id = ParseEpisodeId("A+B Lab+zz-XY_9!+2024-02-29-00h-00m-60s");
  ASSERT_THAT(id, IsOk());
  EXPECT_EQ(id->lab, "A+B Lab");
  EXPECT_EQ(id->code, "zz-XY_9!");
}

TEST(ParseEpisodeId, RefusesOtherShapesAndSaysWhy) {
  const auto refuses = [](std::string_view uuid, const char* why) {
    EXPECT_THAT(ParseEpisodeId(uuid), FailsWith(ErrorKind::kInvalidData, HasSubstr(why)));
  };
  refuses("", "have '': too short");
  refuses("+5d05c5aa+2023-08-12-16h-26m-07s", "too short");
  refuses("AUTOLab+5d05c5a+2023-08-12-16h-26m-07s", "no '+'");
  refuses("AUTOLab+5d05c5aaf+2023-08-12-16h-26m-07s", "no '+'");
  refuses("AUTOLab-5d05c5aa+2023-08-12-16h-26m-07s", "no '+'");
  refuses("AUTOLab+5d05c5aa+2023-08-12 16h-26m-07s", "another shape");
  refuses("AUTOLab+5d05c5aa+2023-08-12-16h-26m-x7s", "another shape");
  refuses("AUTOLab+5d05c5aa+2023-13-12-16h-26m-07s", "no such time");
  refuses("AUTOLab+5d05c5aa+2023-08-12-24h-26m-07s", "no such time");
  refuses("..+5d05c5aa+2023-08-12-16h-26m-07s", "folder name");
  refuses("a/b+5d05c5aa+2023-08-12-16h-26m-07s", "folder name");
  refuses("AUTOLab+5d/../aa+2023-08-12-16h-26m-07s", "folder name");
}

TEST(EpisodeRefFromPath, KnowsTheFoldersOfTheDataSet) {
  const Result<EpisodeRef> ref =
      EpisodeRefFromPath("IRIS/failure/2023-03-07/Tue_Mar__7_16_19_59_2023");
  ASSERT_THAT(ref, IsOk());
  EXPECT_EQ(ref->lab, "IRIS");
  EXPECT_EQ(ref->outcome, Outcome::kFailure);
  EXPECT_EQ(ref->relative_path, "IRIS/failure/2023-03-07/Tue_Mar__7_16_19_59_2023");
  EXPECT_EQ(ref->uuid, "");
}

TEST(EpisodeRefFromPath, RefusesOtherShapesAndSaysWhy) {
  const auto refuses = [](std::string_view path, const char* why) {
    EXPECT_THAT(EpisodeRefFromPath(path), FailsWith(ErrorKind::kInvalidData, HasSubstr(why)));
  };
  refuses("", "four parts");
  refuses("IRIS/success/2023-03-07", "four parts");
  refuses("IRIS/success/2023-03-07/a/b", "four parts");
  refuses("IRIS/success/2023-03-07/a/", "four parts");
  refuses("/success/2023-03-07/a", "no folder name");
  refuses("IRIS/success/2023-03-07/..", "no folder name");
  refuses("IRIS/maybe/2023-03-07/a", "neither success nor failure");
  refuses("IRIS/success/7.3.2023/a", "no date: IRIS/success/7.3.2023/a");
}

TEST(Outcome, RoundTripsThroughItsName) {
  for (const Outcome outcome : {Outcome::kSuccess, Outcome::kFailure}) {
    EXPECT_EQ(OutcomeFromString(ToString(outcome)), outcome);
  }
  EXPECT_EQ(OutcomeFromString("Success"), std::nullopt);
}

TEST(EpisodeMetadata, FindsCamerasBySerialAndRole) {
  EpisodeMetadata metadata;
  metadata.cameras = {{CameraRole::kExternal1, "111", {}}, {CameraRole::kWrist, "333", {}}};
  EXPECT_EQ(metadata.FindCamera("333"), &metadata.cameras[1]);
  EXPECT_EQ(metadata.FindCamera("222"), nullptr);
  EXPECT_EQ(metadata.FindRole(CameraRole::kExternal1), &metadata.cameras[0]);
  EXPECT_EQ(metadata.FindRole(CameraRole::kExternal2), nullptr);
  EXPECT_EQ(ToString(CameraRole::kExternal2), "ext2");
}

}  // namespace
}  // namespace droidflow
