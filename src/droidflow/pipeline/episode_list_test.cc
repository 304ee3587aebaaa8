#include "droidflow/pipeline/episode_list.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string Uuid(const std::string& lab, int day) {
  return fmt::format("{}+0000000{}+2023-07-0{}-10h-00m-00s", lab, day, day);
}

/// Two labs with three episodes each, calibrated in two ways.
class EpisodeListTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* lab : {"IRIS", "TRI"}) {
      for (int day = 1; day <= 3; ++day) AddFolder(lab, day, "success", "Day");
    }
    options_.input.droid_root = folder_ / "raw";
    options_.selection.limit = -1;
  }

  void AddFolder(const std::string& lab,
                 int day,
                 const std::string& outcome,
                 const std::string& name) {
    const auto dir = folder_ / "raw" / lab / outcome / fmt::format("2023-07-0{}", day) / name;
    ASSERT_THAT(WriteFileAtomically(dir / fmt::format("metadata_{}.json", Uuid(lab, day)), "{}"),
                IsOk());
  }

  /// Annotates one external camera of an episode.
  void Annotate(const std::string& lab, int day, const std::string& type, double value) {
    superset_ += fmt::format(
        "{}\"{}\": {{\"1\": [0,0,0,0,0,0], \"1_metric_type\": \"{}\", \"1_quality_metric\": {}}}",
        superset_.empty() ? "" : ",",
        Uuid(lab, day),
        type,
        value);
  }

  Result<EpisodeList> List() {
    EXPECT_THAT(WriteFileAtomically(folder_ / "superset.json", "{" + superset_ + "}"), IsOk());
    AnnotationPaths paths;
    paths.superset = folder_ / "superset.json";
    annotations_.emplace(*Annotations::Open(paths));
    return ListEpisodes(options_, *annotations_);
  }

  std::vector<std::string> Uuids() {
    const Result<EpisodeList> list = List();
    EXPECT_THAT(list, IsOk());
    std::vector<std::string> uuids;
    for (const ListedEpisode& episode : list->episodes) uuids.push_back(episode.ref.uuid);
    return uuids;
  }

  TemporaryDirectory folder_;
  MetadataOptions options_;
  std::string superset_;
  std::optional<Annotations> annotations_;
};

TEST_F(EpisodeListTest, GivesTheBestOfEachLabInTurn) {
  Annotate("IRIS", 1, "IoU", 0.5);
  Annotate("IRIS", 2, "IoU", 0.9);
  Annotate("IRIS", 3, "IoU", 0.7);
  Annotate("TRI", 3, "IoU", 0.6);  // the others of TRI are not calibrated: by path, last
  EXPECT_THAT(Uuids(),
              ElementsAre(Uuid("IRIS", 2),
                          Uuid("TRI", 3),
                          Uuid("IRIS", 3),
                          Uuid("TRI", 1),
                          Uuid("IRIS", 1),
                          Uuid("TRI", 2)));
}

TEST_F(EpisodeListTest, PartsAreAllOfItEachOnceAfterTheLimit) {
  options_.selection.limit = 5;
  const std::vector<std::string> all = Uuids();
  ASSERT_THAT(all, SizeIs(5));
  std::vector<std::string> together(5);
  for (int i = 0; i < 7; ++i) {  // more parts than episodes: two are empty
    options_.selection.part = {.index = i, .count = 7};
    const std::vector<std::string> part = Uuids();
    ASSERT_THAT(part, SizeIs(i < 5 ? 1 : 0));
    if (i < 5) together[static_cast<std::size_t>(i)] = part.front();
  }
  EXPECT_EQ(together, all);
  options_.selection.part = {.index = 1, .count = 2};
  EXPECT_THAT(Uuids(), ElementsAre(all[1], all[3]));
}

TEST_F(EpisodeListTest, PartsShareWhatIsNotFound) {
  const std::string absent = Uuid("AUTOLab", 8);
  const std::string absent_too = Uuid("AUTOLab", 9);
  options_.selection.episodes = absent + "," + Uuid("TRI", 1) + "," + absent_too;
  for (int i = 0; i < 2; ++i) {
    options_.selection.part = {.index = i, .count = 2};
    const Result<EpisodeList> list = List();
    ASSERT_THAT(list, IsOk());
    EXPECT_THAT(list->not_found_uuids, ElementsAre(i == 0 ? absent : absent_too));
    EXPECT_THAT(list->not_found, SizeIs(1));
    EXPECT_THAT(list->episodes, SizeIs(i == 0 ? 1 : 0));
  }
}

TEST_F(EpisodeListTest, RanksWithinATypeAndKnowsItsDirection) {
  // Reprojection errors: 1 px is the best of two (rank 1), 9 px the worst (rank 1/2). 20000 matches
  // are the only ones of their type (rank 1); the number is never compared with the pixels.
  Annotate("IRIS", 1, "Reprojection_error", 9);
  Annotate("IRIS", 2, "num_matches", 20000);
  Annotate("IRIS", 3, "reprojection_error", 1);
  options_.selection.labs = {"IRIS"};
  const Result<EpisodeList> list = List();
  ASSERT_THAT(list, IsOk());
  ASSERT_THAT(list->episodes, SizeIs(3));
  EXPECT_EQ(list->episodes[0].ref.uuid, Uuid("IRIS", 2));
  EXPECT_EQ(list->episodes[0].quality, 1.0);
  EXPECT_EQ(list->episodes[1].ref.uuid, Uuid("IRIS", 3));
  EXPECT_EQ(list->episodes[1].quality, 1.0);
  EXPECT_EQ(list->episodes[2].ref.uuid, Uuid("IRIS", 1));
  EXPECT_EQ(list->episodes[2].quality, 0.5);
}

TEST_F(EpisodeListTest, LeavesOutWhatDoesNotKeepALimitOfItsOwnType) {
  Annotate("IRIS", 1, "IoU", 0.5);
  Annotate("IRIS", 2, "IoU", 0.7);
  Annotate("IRIS", 3, "num_matches", 9000);
  options_.selection.labs = {"IRIS"};
  options_.selection.min_iou = 0.6;
  EXPECT_THAT(Uuids(), ElementsAre(Uuid("IRIS", 2), Uuid("IRIS", 3)));
}

TEST_F(EpisodeListTest, TakesOutcomeAndLimit) {
  AddFolder("IRIS", 4, "failure", "Day");
  options_.selection.outcome = Outcome::kFailure;
  EXPECT_THAT(Uuids(), ElementsAre(Uuid("IRIS", 4)));
  options_.selection.outcome.reset();
  options_.selection.limit = 2;
  const Result<EpisodeList> list = List();
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(list->episodes, SizeIs(2));
  EXPECT_EQ(list->matching, 7U);
}

TEST_F(EpisodeListTest, KeepsTheFirstOfTwoFoldersWithOneUuid) {
  AddFolder("IRIS", 1, "success", "Day_copy");
  const Result<EpisodeList> list = List();
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(list->episodes, SizeIs(6));
  ASSERT_THAT(list->duplicates, SizeIs(1));
  EXPECT_EQ(list->duplicates[0].relative_path, "IRIS/success/2023-07-01/Day_copy");
}

TEST_F(EpisodeListTest, ReadsUuidsFromAFileAndSaysWhichAreNotThere) {
  const std::string missing = Uuid("RAD", 1);
  ASSERT_THAT(
      WriteFileAtomically(
          folder_ / "ids.txt",
          fmt::format("# mine\n{}\n\n  {} \n{}\n", Uuid("TRI", 1), missing, Uuid("TRI", 1))),
      IsOk());
  options_.selection.episodes = folder_ / "ids.txt";
  const Result<EpisodeList> list = List();
  ASSERT_THAT(list, IsOk());
  EXPECT_THAT(list->episodes, SizeIs(1));
  EXPECT_THAT(list->not_found_uuids, ElementsAre(missing));
}

TEST_F(EpisodeListTest, SaysWhichLineIsNoUuidAndWhichFileIsNotThere) {
  ASSERT_THAT(WriteFileAtomically(folder_ / "ids.txt", Uuid("TRI", 1) + "\nnot-a-uuid\n"), IsOk());
  options_.selection.episodes = folder_ / "ids.txt";
  EXPECT_THAT(List(),
              FailsWith(ErrorKind::kUsage, AllOf(HasSubstr("line 2"), HasSubstr("ids.txt"))));
  options_.selection.episodes = folder_ / "none.txt";
  EXPECT_THAT(List(), FailsWith(ErrorKind::kNotFound, HasSubstr("none.txt")));
}

TEST_F(EpisodeListTest, RefusesARootWithoutEpisodes) {
  ASSERT_THAT(MakeDirectories(folder_ / "empty"), IsOk());
  options_.input.droid_root = folder_ / "empty";
  EXPECT_THAT(List(), FailsWith(ErrorKind::kNotFound, HasSubstr("found none")));
}

}  // namespace
}  // namespace droidflow
