#include "droidflow/io/source_episodes.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <atomic>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kFriday[] = "IRIS+5d05c5aa+2023-07-07-09h-42m-23s";

std::vector<std::string> NamesOf(const std::vector<SourceEntry>& files) {
  std::vector<std::string> names;
  for (const SourceEntry& file : files) names.push_back(file.name);
  return names;
}

class SourceEpisodesTest : public testing::Test {
 protected:
  void Put(const std::string& name, const std::string& content = "x") const {
    ASSERT_THAT(WriteFile(directory_ / name, content), IsOk());
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<Source> source_ = MakeFolderSource(directory_.path());
};

TEST_F(SourceEpisodesTest, AreListedByDate) {
  Put("TRI/failure/2023-03-07/Tue_Mar__7_16_19_59_2023/trajectory.h5");
  Put(fmt::format("IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023/metadata_{}.json", kFriday));
  Put("IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023/recordings/MP4/1.mp4");
  Put("IRIS/success/2023-07-07/note.txt");
  Put("IRIS/success/new/Fri/x");
  Put("IRIS/other/2023-07-07/Fri/x");
  EXPECT_THAT(ListDateFolders(*source_, {}, {}).value(),
              ElementsAre("IRIS/success/2023-07-07", "TRI/failure/2023-03-07"));
  EXPECT_THAT(ListDateFolders(*source_, {}, Outcome::kFailure).value(),
              ElementsAre("TRI/failure/2023-03-07"));
  EXPECT_EQ(ListDateFolders(*source_, {}, {}, 4).value(),
            ListDateFolders(*source_, {}, {}, 1).value());
  const std::vector<std::string> labs = {"IRIS", "WEIRD"};
  EXPECT_THAT(ListDateFolders(*source_, labs, {}).value(), ElementsAre("IRIS/success/2023-07-07"));

  const auto episodes = ListEpisodesOfDate(*source_, "IRIS/success/2023-07-07").value();
  ASSERT_EQ(episodes.size(), 1U);
  EXPECT_EQ(episodes[0].ref.uuid, kFriday);
  EXPECT_EQ(episodes[0].ref.relative_path, "IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023");
  EXPECT_THAT(NamesOf(episodes[0].files),
              ElementsAre(fmt::format("metadata_{}.json", kFriday), "recordings/MP4/1.mp4"));
  EXPECT_THAT(ListEpisodesOfDate(*source_, "IRIS/success/2023-07-08").value(), IsEmpty());
}

TEST_F(SourceEpisodesTest, AreFoundWhereverTheyAreFiled) {
  const std::string folders[] = {"IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023",
                                 "IRIS/failure/2023-07-08/Fri_Jul_7_09-42-23_2023",
                                 "IRIS/success/2023-07-06/any"};
  for (const std::string& folder : folders) {
    const TemporaryDirectory root;
    const auto source = MakeFolderSource(root.path());
    ASSERT_THAT(WriteFile(root / folder / fmt::format("metadata_{}.json", kFriday), "{}"), IsOk());
    SourceEpisodeFinder finder(*source, nullptr);
    EXPECT_EQ(finder.Find(kFriday).value().ref.relative_path, folder);
    EXPECT_EQ(finder.Find(folder + "/").value().ref.uuid, kFriday);
  }
}

TEST_F(SourceEpisodesTest, AreListedAheadOnce) {
  class Counted : public Source {
   public:
    explicit Counted(Source& source) : source_(source) {}
    std::string Describe() const override { return source_.Describe(); }
    Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
      ++lists;
      return source_.List(folder, depth);
    }
    Status Read(const std::string& path,
                std::uint64_t offset,
                std::optional<std::uint64_t> length,
                const Sink& sink) override {
      return source_.Read(path, offset, length, sink);
    }
    std::atomic<int> lists = 0;

   private:
    Source& source_;
  };

  const std::string folder = "IRIS/success/2023-07-07/a";
  Put(fmt::format("{}/metadata_{}.json", folder, kFriday));
  Put("TRI/failure/2023-03-07/b/trajectory.h5");
  const std::vector<std::string> entries = {kFriday, folder + "/", "TRI/failure/2023-03-07/b", "?"};
  Counted counted(*source_);
  SourceEpisodeFinder finder(counted, nullptr);
  finder.ListAhead(entries, 4);
  EXPECT_EQ(counted.lists, 2);
  EXPECT_EQ(finder.Find(entries[0]).value().ref.relative_path, folder);
  EXPECT_EQ(finder.Find(entries[1]).value().ref.uuid, kFriday);
  EXPECT_THAT(finder.Find(entries[2]), IsOk());
  EXPECT_EQ(counted.lists, 2);
}

TEST_F(SourceEpisodesTest, AreFoundByTheirFolderWhereNoMetadataSaysOtherwise) {
  const std::string folder = "IRIS/success/2023-07-07/Fri_Jul__7_09_42_23_2023";
  Put(folder + "/trajectory.h5");
  EXPECT_EQ(SourceEpisodeFinder(*source_, nullptr).Find(kFriday).value().ref.relative_path, folder);
  Put(folder + "/metadata_IRIS+other+2023-07-07-09h-42m-23s.json");
  EXPECT_THAT(SourceEpisodeFinder(*source_, nullptr).Find(kFriday),
              FailsAs("not_found", HasSubstr("IRIS/failure/2023-07-06")));
}

TEST_F(SourceEpisodesTest, AreLookedForAsInAFolder) {
  const std::string claimed = "IRIS/success/2023-07-07/Fri_Jul__7_09:42:23_2023";
  const auto told = [&] {
    Considerations here;
    Considerations there;
    const Result<EpisodeRef> folder = FindEpisode(directory_.path(), kFriday, nullptr, &here);
    const Result<SourceEpisode> found =
        SourceEpisodeFinder(*source_, nullptr).Find(kFriday, &there);
    EXPECT_EQ(found.has_value(), folder.has_value());
    if (found && folder) {
      EXPECT_EQ(found->ref.relative_path, folder->relative_path);
    } else if (!found && !folder) {
      EXPECT_EQ(found.error().message, folder.error().message);
    }
    EXPECT_EQ(there.size(), here.size());
    std::string chosen;
    for (std::size_t i = 0; i < std::min(here.size(), there.size()); ++i) {
      EXPECT_EQ(there[i].what, here[i].what);
      EXPECT_EQ(there[i].finding, here[i].finding);
      EXPECT_EQ(there[i].chosen, here[i].chosen);
      if (there[i].chosen) chosen = there[i].what;
    }
    return chosen;
  };
  Put(claimed + "/metadata_IRIS+other+2023-07-07-09h-42m-23s.json");
  EXPECT_EQ(told(), "");
  // Of two names that would do, the more usual one.
  Put("IRIS/failure/2023-07-08/Fri_Jul__7_09-42-23_2023/trajectory.h5");
  Put("IRIS/failure/2023-07-08/Fri_Jul__7_09_42_23_2023/trajectory.h5");
  EXPECT_EQ(told(), "IRIS/failure/2023-07-08/Fri_Jul__7_09_42_23_2023");
  Put(fmt::format("IRIS/success/2023-07-06/a/metadata_{}.json", kFriday));
  EXPECT_EQ(told(), "IRIS/success/2023-07-06/a");
  // The second metadata file of a folder counts, too.
  Put(fmt::format("{}/metadata_{}.json", claimed, kFriday));
  EXPECT_EQ(told(), claimed);
}

TEST_F(SourceEpisodesTest, AreNotFoundByWhatIsNoName) {
  SourceEpisodeFinder finder(*source_, nullptr);
  EXPECT_THAT(finder.Find("IRIS/success/2023-07-07/none"),
              FailsAs("not_found", HasSubstr("2023-07-07/none")));
  EXPECT_THAT(finder.Find("IRIS/success"), FailsWith(ErrorKind::kUsage, HasSubstr("four parts")));
  EXPECT_THAT(finder.Find("IRIS"), FailsWith(ErrorKind::kUsage, HasSubstr("IRIS")));
}

TEST(ChooseFiles, TakesOneRecordingPerCameraAndNeverTheSmallTrajectory) {
  std::vector<SourceEntry> files;
  for (const char* const name : {"metadata_a.json",
                                 "recordings/MP4/1-stereo.mp4",
                                 "recordings/MP4/1.mp4",
                                 "recordings/MP4/1_timestamps.json",
                                 "recordings/MP4/2.mp4",
                                 "recordings/MP4/2_timestamps.json",
                                 "recordings/MP4/3-stereo.mp4",
                                 "recordings/SVO/1.svo",
                                 "recordings/SVO/2.svo",
                                 "recordings/SVO/2.svo2",
                                 "recordings/SVO/3.svo",
                                 "trajectory.h5",
                                 "trajectory_im128.h5"}) {
    files.push_back({.name = name, .size_bytes = 9});
  }
  files[6].size_bytes = 0;
  const auto chosen = [&](const char* what) {
    return NamesOf(ChooseFiles(files, ParseWantedFiles(what).value()));
  };
  const auto all = chosen("metadata,h5,stereo,svo");
  EXPECT_THAT(all,
              ElementsAre("metadata_a.json",
                          "recordings/MP4/1-stereo.mp4",
                          "recordings/MP4/1_timestamps.json",
                          "recordings/MP4/2_timestamps.json",
                          "recordings/SVO/2.svo2",
                          "recordings/SVO/3.svo",
                          "trajectory.h5"));
  EXPECT_EQ(NamesOf(ChooseFiles(files, {})), all);
  EXPECT_THAT(chosen("h5"), ElementsAre("trajectory.h5"));
  EXPECT_THAT(chosen("mono,stereo"),
              ElementsAre("recordings/MP4/1-stereo.mp4",
                          "recordings/MP4/1_timestamps.json",
                          "recordings/MP4/2.mp4",
                          "recordings/MP4/2_timestamps.json"));
}

TEST(ParseWantedFiles, NamesWhatItDoesNotKnow) {
  EXPECT_THAT(ParseWantedFiles("h5,"), FailsWith(ErrorKind::kUsage, HasSubstr("have ''")));
  EXPECT_THAT(ParseWantedFiles("h5,mp4"), FailsWith(ErrorKind::kUsage, HasSubstr("have 'mp4'")));
}

}  // namespace
}  // namespace droidflow
