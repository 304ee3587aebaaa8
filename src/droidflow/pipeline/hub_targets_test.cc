#include "droidflow/pipeline/hub_targets.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> Describe(const HubOptions& options, Pipeline pipeline) {
  std::vector<std::string> lines;
  const auto places = MakeHubPlaces(options, pipeline);
  EXPECT_TRUE(places);
  for (const HubPlace& place : *places) {
    lines.push_back(place.destination + ": " + place.store->Describe());
  }
  return lines;
}

TEST(HubTargets, EveryPlaceIsADestination) {
  HubOptions options;
  options.hub = "file:/hub/full";
  options.metadata_hub = "file:/hub/metadata";
  EXPECT_THAT(Describe(options, Pipeline::kFull),
              ElementsAre("full: folder /hub/full", "metadata: folder /hub/metadata"));
  EXPECT_THAT(Describe(options, Pipeline::kMetadata),
              ElementsAre("metadata: folder /hub/metadata"));
  options.metadata_hub.clear();
  EXPECT_THAT(Describe(options, Pipeline::kFull), ElementsAre("full: folder /hub/full"));
  EXPECT_THAT(Describe(options, Pipeline::kMetadata), ElementsAre("metadata: folder /hub/full"));
  EXPECT_THAT(Describe({}, Pipeline::kFull), IsEmpty());
}

TEST(HubTargets, ARepositoryIsOfTheHub) {
  HubOptions options;
  options.repo = "lab/episodes";
  options.branch = "next";
  const std::vector<std::string> lines = Describe(options, Pipeline::kFull);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(lines.front(), HasSubstr("full: dataset lab/episodes (next) at http"));
  options.repo = "lab/a b";
  EXPECT_EQ(MakeHubPlaces(options, Pipeline::kFull).error().kind, ErrorKind::kUsage);
}

TEST(HubTargets, DepthGoesToTheFullDestinationOnly) {
  const TemporaryDirectory folder;
  for (const char* const name : {"tracks.npz",
                                 "quality.json",
                                 "recordings/1/intrinsics.json",
                                 "recordings/1/depth.mkv",
                                 "recordings/1/depth_meta.json"}) {
    ASSERT_TRUE(WriteFile(folder.path() / "LAB/day/e" / name, "x"));
  }
  const auto names = [&](const char* destination) {
    const auto entry = MakeUploadEntry(destination, "key", folder.path(), "LAB/day/e");
    EXPECT_TRUE(entry);
    EXPECT_EQ(entry->prefix, "LAB/day/e");
    std::vector<std::string> found;
    for (const UploadFile& file : entry->files) found.push_back(file.name);
    return found;
  };
  EXPECT_THAT(names(kFullDestination),
              ElementsAre("quality.json",
                          "recordings/1/depth.mkv",
                          "recordings/1/depth_meta.json",
                          "recordings/1/intrinsics.json",
                          "tracks.npz"));
  EXPECT_THAT(names(kMetadataDestination),
              ElementsAre("quality.json", "recordings/1/intrinsics.json", "tracks.npz"));
}

TEST(HubTargets, DepthThatGoesNowhereKeepsItsEpisodeHere) {
  HubOptions options;
  options.metadata_hub = "file:/hub";
  EXPECT_TRUE(MakeUploaderOptions(options, Pipeline::kFull).keep_uploaded);
  EXPECT_FALSE(MakeUploaderOptions(options, Pipeline::kMetadata).keep_uploaded);
  options.hub = "file:/full";
  EXPECT_FALSE(MakeUploaderOptions(options, Pipeline::kFull).keep_uploaded);
}

TEST(HubTargets, TooManyFilesForARepositoryAreToldOf) {
  MetadataOptions options;
  options.hub.hub = "file:/hub";
  EXPECT_EQ(AdviseOnLayout(10'000, options), "");
  EXPECT_THAT(AdviseOnLayout(20'000, options),
              AllOf(HasSubstr("180000 files"), HasSubstr("900.0 GB"), HasSubstr("shards")));
  options.pipeline = Pipeline::kFull;
  EXPECT_THAT(AdviseOnLayout(6'001, options), HasSubstr("90015 files"));
  options.hub.layout = HubLayout::kShards;
  EXPECT_EQ(AdviseOnLayout(1'000'000, options), "");
  options.hub = {};
  EXPECT_EQ(AdviseOnLayout(1'000'000, options), "");
}

TEST(HubTargets, UnitsOfOptionsAreTheUploadersOwn) {
  HubOptions options;
  options.hub = "file:/hub";
  options.upload_interval_s = 1.5;
  options.batch_gb = 0.25;
  options.layout = HubLayout::kShards;
  options.shard_gb = 2;
  const UploaderOptions uploader = MakeUploaderOptions(options, Pipeline::kFull);
  EXPECT_EQ(uploader.interval.count(), 1500);
  EXPECT_EQ(uploader.batch_bytes, 250'000'000);
  const auto places = MakeHubPlaces(options, Pipeline::kFull);
  ASSERT_TRUE(places);
  EXPECT_EQ(MakeUploadTargets(*places, options).front().shards->shard_bytes, 2'000'000'000);
}

}  // namespace
}  // namespace droidflow
