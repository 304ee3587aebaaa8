#include "droidflow/io/episode_finder.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/io/annotations.h"

#include <fstream>
#include <string>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kUuid[] = "IRIS+ef107c48+2023-03-07-16h-19m-59s";

// A raw data set of empty episodes.
class RawTree {
 public:
  RawTree& Add(const std::string& relative_path, const std::string& uuid = {}) {
    EXPECT_THAT(MakeDirectories(root() / relative_path), IsOk());
    if (!uuid.empty())
      std::ofstream(root() / relative_path / ("metadata_" + uuid + ".json")) << "{}";
    return *this;
  }
  [[nodiscard]] const std::filesystem::path& root() const { return directory_.path(); }
  [[nodiscard]] std::string Find(std::string_view uuid) const {
    const auto ref = FindEpisode(root(), uuid, nullptr);
    return ref ? ref->relative_path : ref.error().status;
  }

 private:
  TemporaryDirectory directory_;
};

TEST(EpisodeFolderVariants, SpellTheTimeInEveryKnownWay) {
  const auto id = ParseEpisodeId(kUuid);
  ASSERT_THAT(id, IsOk());
  EXPECT_THAT(EpisodeFolderVariants(*id),
              ElementsAre("Tue_Mar__7_16:19:59_2023",
                          "Tue_Mar_7_16:19:59_2023",
                          "Tue_Mar__7_16_19_59_2023",
                          "Tue_Mar_7_16_19_59_2023",
                          "Tue_Mar__7_16-19-59_2023",
                          "Tue_Mar_7_16-19-59_2023"));
  EpisodeId later = *id;
  later.day = 17;
  EXPECT_THAT(
      EpisodeFolderVariants(later),
      ElementsAre(
          "Fri_Mar_17_16:19:59_2023", "Fri_Mar_17_16_19_59_2023", "Fri_Mar_17_16-19-59_2023"));
  later.month = 2;
  later.day = 30;
  EXPECT_THAT(EpisodeFolderVariants(later), IsEmpty());
}

TEST(ScanRawTree, ListsEveryEpisodeFolderSortedByPath) {
  RawTree tree;
  tree.Add("TRI/success/2023-11-03/b", "TRI+52ca9b6a+2023-11-03-12h-35m-07s")
      .Add("TRI/success/2023-11-03/a")
      .Add("TRI/failure/2023-11-03/c", "x")
      .Add("IRIS/success/2023-03-07/d/recordings/MP4", "")
      .Add("IRIS/success/notes/e")
      .Add("IRIS/other/2023-03-07/f")
      .Add("empty/success");
  std::ofstream(tree.root() / "README") << "not a lab";
  std::ofstream(tree.root() / "TRI/success/2023-11-03/file") << "not an episode";
  std::filesystem::create_symlink("../success/2023-11-03", tree.root() / "TRI/failure/2023-11-04");
  std::filesystem::create_symlink("nowhere", tree.root() / "TRI/failure/2023-11-05");

  const auto refs = ScanRawTree(tree.root());
  ASSERT_THAT(refs, IsOk());
  std::string paths;
  for (const EpisodeRef& ref : *refs) paths += ref.relative_path + " " + ref.uuid + "\n";
  EXPECT_EQ(paths,
            "IRIS/success/2023-03-07/d \n"
            "TRI/failure/2023-11-03/c x\n"
            "TRI/failure/2023-11-04/a \n"
            "TRI/failure/2023-11-04/b TRI+52ca9b6a+2023-11-03-12h-35m-07s\n"
            "TRI/success/2023-11-03/a \n"
            "TRI/success/2023-11-03/b TRI+52ca9b6a+2023-11-03-12h-35m-07s\n");
  EXPECT_EQ(refs->at(1).outcome, Outcome::kFailure);
  EXPECT_EQ(refs->at(1).lab, "TRI");
}

TEST(ScanRawTree, RefusesAFolderThatIsNotThere) {
  EXPECT_THAT(ScanRawTree("/nowhere"), FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere")));
}

TEST(ScanRawTree, FindsTheGoldenEpisodes) {
  DF_NEEDS_SHARED("data/golden/raw");
  const auto refs = ScanRawTree(SharedPath("data/golden/raw"));
  ASSERT_THAT(refs, IsOk());
  ASSERT_THAT(*refs, SizeIs(5));
  EXPECT_EQ(refs->at(1).uuid, kUuid);
}

TEST(FindEpisode, FindsEveryGoldenEpisodeWithAndWithoutTheMap) {
  DF_NEEDS_SHARED("data/golden/raw");
  const auto annotations = Annotations::Open(FindAnnotations(SharedPath("data/golden")));
  ASSERT_THAT(annotations, IsOk());
  const auto refs = ScanRawTree(SharedPath("data/golden/raw"));
  ASSERT_THAT(refs, IsOk());
  for (const EpisodeRef& ref : *refs) {
    EXPECT_EQ(FindEpisode(SharedPath("data/golden/raw"), ref.uuid, &*annotations), ref);
    EXPECT_EQ(FindEpisode(SharedPath("data/golden/raw"), ref.uuid, nullptr), ref);
  }
}

TEST(FindEpisode, FindsMetadataInAFolderOfAnotherName) {
  EXPECT_EQ(RawTree().Add("IRIS/failure/2023-03-07/any", kUuid).Find(kUuid),
            "IRIS/failure/2023-03-07/any");
  EXPECT_EQ(RawTree().Add("IRIS/success/2023-03-08/any", kUuid).Find(kUuid),
            "IRIS/success/2023-03-08/any");
  EXPECT_EQ(RawTree().Add("IRIS/success/2023-03-09/any", kUuid).Find(kUuid), "not_found");
}

TEST(FindEpisode, FindsFoldersWithoutMetadataByTheirNames) {
  for (const char* folder : {"success/2023-03-07/Tue_Mar__7_16:19:59_2023",
                             "failure/2023-03-07/Tue_Mar_7_16_19_59_2023",
                             "success/2023-03-06/Tue_Mar__7_16-19-59_2023"}) {
    const std::string path = std::string("IRIS/") + folder;
    EXPECT_EQ(RawTree().Add(path).Find(kUuid), path);
    EXPECT_EQ(RawTree().Add(path, "IRIS+00000000+2023-03-07-16h-19m-59s").Find(kUuid), "not_found");
  }
}

TEST(FindEpisode, TellsEveryFolderThatItLookedFor) {
  RawTree tree;
  const std::string path = "IRIS/failure/2023-03-07/Tue_Mar_7_16_19_59_2023";
  tree.Add("IRIS/success/2023-03-07/Tue_Mar__7_16:19:59_2023", "IRIS+0+2023-03-07-16h-19m-59s")
      .Add(path);
  Considerations considered;
  ASSERT_THAT(FindEpisode(tree.root(), kUuid, nullptr, &considered), IsOk());
  // Six dates without such metadata, six names on the first date, four on the next.
  ASSERT_EQ(considered.size(), 16U);
  EXPECT_THAT(considered[0].finding, HasSubstr("1 folders, none has"));
  EXPECT_THAT(considered[6].finding, HasSubstr("IRIS+0+2023-03-07-16h-19m-59s"));
  EXPECT_THAT(considered[7].finding, HasSubstr("no such folder"));
  EXPECT_EQ(considered.back().what, path);
  EXPECT_TRUE(considered.back().chosen);
}

TEST(FindEpisode, CrossesMonthsAndYears) {
  EXPECT_EQ(RawTree()
                .Add("TRI/success/2024-01-01/any", "TRI+52ca9b6a+2023-12-31-23h-59m-07s")
                .Find("TRI+52ca9b6a+2023-12-31-23h-59m-07s"),
            "TRI/success/2024-01-01/any");
}

TEST(FindEpisode, SaysWhatWasTried) {
  const RawTree tree;
  EXPECT_THAT(FindEpisode(tree.root(), kUuid, nullptr),
              FailsAs("not_found",
                      AllOf(HasSubstr(kUuid),
                            HasSubstr("IRIS/failure/2023-03-06"),
                            HasSubstr("Tue_Mar_7_16-19-59_2023"),
                            HasSubstr(tree.root().string()))));
  EXPECT_THAT(FindEpisode(tree.root(), "IRIS", nullptr),
              FailsWith(ErrorKind::kUsage, HasSubstr("'IRIS'")));
}

TEST(FindEpisodeByPath, TakesAbsoluteAndRelativePathsWithASlashAtTheEnd) {
  RawTree tree;
  const std::string path = "IRIS/success/2023-03-07/d";
  tree.Add(path, kUuid);
  for (const std::filesystem::path& spelling :
       {std::filesystem::path(path),
        std::filesystem::path(path + "/"),
        tree.root() / path,
        tree.root() / (path + "/"),
        tree.root() / "IRIS/../IRIS/success/./2023-03-07/d"}) {
    const auto ref = FindEpisodeByPath(tree.root(), spelling);
    ASSERT_THAT(ref, IsOk()) << spelling;
    EXPECT_EQ(ref->relative_path, path);
    EXPECT_EQ(ref->uuid, kUuid);
  }
}

TEST(FindEpisodeByPath, FollowsALinkedRoot) {
  RawTree tree;
  tree.Add("IRIS/success/2023-03-07/d", kUuid);
  const TemporaryDirectory elsewhere;
  std::filesystem::create_symlink(tree.root(), elsewhere / "raw");
  const auto ref = FindEpisodeByPath(elsewhere / "raw", tree.root() / "IRIS/success/2023-03-07/d");
  ASSERT_THAT(ref, IsOk());
  EXPECT_EQ(ref->relative_path, "IRIS/success/2023-03-07/d");
}

TEST(FindEpisodeByPath, RefusesWhatIsNoEpisodeOfTheRoot) {
  RawTree tree;
  tree.Add("IRIS/success/2023-03-07/d");
  EXPECT_THAT(FindEpisodeByPath(tree.root(), "IRIS/success/2023-03-07/x"),
              FailsAs("not_found", HasSubstr("2023-03-07/x")));
  EXPECT_THAT(FindEpisodeByPath(tree.root(), "IRIS/success"),
              FailsWith(ErrorKind::kUsage, HasSubstr("IRIS/success")));
  EXPECT_THAT(FindEpisodeByPath(tree.root(), "/usr"),
              FailsWith(ErrorKind::kUsage, HasSubstr("/usr")));
}

}  // namespace
}  // namespace droidflow
