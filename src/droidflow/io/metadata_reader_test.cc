#include "droidflow/io/metadata_reader.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <fstream>
#include <string>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kUuid[] = "AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s";

// A folder with one metadata file.
class MetadataFolder {
 public:
  explicit MetadataFolder(const std::string& text) {
    std::ofstream(directory_ / (std::string("metadata_") + kUuid + ".json")) << text;
  }
  [[nodiscard]] const std::filesystem::path& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

TEST(ReadMetadata, ReadsARecordedEpisode) {
  const char* const episode =
      "data/real_episode/raw/AUTOLab/success/2023-08-12/Sat_Aug_12_16:26:07_2023";
  DF_NEEDS_SHARED(episode);
  const auto metadata = ReadMetadata(SharedPath(episode));
  ASSERT_THAT(metadata, IsOk());
  EXPECT_EQ(metadata->uuid, kUuid);
  EXPECT_EQ(metadata->lab, "AUTOLab");
  EXPECT_EQ(metadata->current_task, "wire harness");
  EXPECT_EQ(metadata->building, "Autolab");
  EXPECT_EQ(metadata->scene_id, 8833514968);
  EXPECT_EQ(metadata->trajectory_length, 226);
  ASSERT_THAT(metadata->cameras, SizeIs(3));
  EXPECT_EQ(metadata->cameras[0].serial, "22008760");
  EXPECT_EQ(metadata->cameras[1].role, CameraRole::kExternal2);
  EXPECT_EQ(metadata->FindRole(CameraRole::kWrist)->serial, "18026681");
  EXPECT_EQ(metadata->FindCamera("24400334")->extrinsics->at(2), 0.30128760608311006);
}

TEST(ReadMetadata, KnowsNoSceneThatIsNoNumberOf63Bits) {
  for (const char* const scene : {"18446744073709551615", "\"7\"", "7.5", "null"}) {
    const MetadataFolder folder(std::string("{\"scene_id\": ") + scene + "}");
    const auto metadata = ReadMetadata(folder.path());
    ASSERT_THAT(metadata, IsOk());
    EXPECT_EQ(metadata->scene_id, std::nullopt) << scene;
    EXPECT_THAT(metadata->building, IsEmpty());
  }
}

TEST(ReadMetadata, ToleratesWhatRecordersLeaveOut) {
  const MetadataFolder folder(
      R"({"lab": null, "scene_id": 8833514968, "trajectory_length": null,
          "ext1_cam_serial": 22008760, "ext1_cam_extrinsics": null,
          "ext2_cam_serial": null, "ext2_cam_extrinsics": [1, 2, 3, 4, 5, 6],
          "wrist_cam_serial": "18026681", "wrist_cam_extrinsics": [1, 2, null, 4, 5, 6]})");
  const auto metadata = ReadMetadata(folder.path());
  ASSERT_THAT(metadata, IsOk());
  EXPECT_THAT(metadata->lab, IsEmpty());
  EXPECT_FALSE(metadata->trajectory_length);
  ASSERT_THAT(metadata->cameras, SizeIs(2));
  EXPECT_EQ(metadata->cameras[0].serial, "22008760");
  EXPECT_FALSE(metadata->cameras[0].extrinsics);
  EXPECT_EQ(metadata->cameras[1].serial, "18026681");
  EXPECT_FALSE(metadata->cameras[1].extrinsics);
}

TEST(ReadMetadata, SaysWhereAFileIsNotJsonButNotWhatItHolds) {
  const MetadataFolder folder("{\"lab\": \"RAIL\",\n\"user\": \"Jane Doe\" x}");
  EXPECT_THAT(ReadMetadata(folder.path()),
              FailsAs("bad_metadata",
                      AllOf(HasSubstr("line 2"),
                            HasSubstr("byte 36"),
                            HasSubstr("metadata_"),
                            Not(HasSubstr("Jane")))));
}

TEST(ReadMetadata, RefusesEmptyTruncatedAndForeignText) {
  EXPECT_THAT(ReadMetadata(MetadataFolder("").path()),
              FailsAs("bad_metadata", HasSubstr("line 1")));
  EXPECT_THAT(ReadMetadata(MetadataFolder("{\"lab\": \"RA").path()),
              FailsAs("bad_metadata", HasSubstr("of 11")));
  EXPECT_THAT(ReadMetadata(MetadataFolder("[1, 2]").path()),
              FailsAs("bad_metadata", HasSubstr("have array")));
  EXPECT_THAT(ReadMetadata(MetadataFolder("{\"scene_id\": 1e999}").path()),
              FailsAs("bad_metadata", HasSubstr("out of range")));
}

TEST(FindMetadataFile, RefusesAFolderWithoutOne) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "metadata_.json") << "{}";
  EXPECT_THAT(FindMetadataFile(directory.path()),
              FailsAs("no_metadata", HasSubstr(directory.path().string())));
}

TEST(FindMetadataFile, TakesTheFirstByName) {
  const TemporaryDirectory directory;
  for (const char* name : {"metadata_b.json", "metadata_a.json", "metadata_c.json", "a.json"}) {
    std::ofstream(directory / name) << "{}";
  }
  EXPECT_EQ(FindMetadataFile(directory.path()), directory / "metadata_a.json");
}

}  // namespace
}  // namespace droidflow
