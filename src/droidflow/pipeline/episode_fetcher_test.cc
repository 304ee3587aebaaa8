#include "droidflow/pipeline/episode_fetcher.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/mcap_reader.h"
#include "droidflow/formats/mcap_writer.h"
#include "droidflow/io/listing_cache.h"
#include "droidflow/io/recordings.h"
#include "droidflow/pipeline/synth.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/svo2_writer.h"

#include <map>
#include <mutex>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

/// A folder of which is known how much was read of each file.
class WatchedFolder : public Source {
 public:
  explicit WatchedFolder(const fs::path& folder) : source_(MakeFolderSource(folder)) {}

  std::string Describe() const override { return source_->Describe(); }
  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    return source_->List(folder, depth);
  }
  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const Sink& sink) override {
    return source_->Read(path, offset, length, [&](std::span<const std::byte> bytes) {
      const std::scoped_lock lock(mutex_);
      read_bytes[path] += bytes.size();
      return sink(bytes);
    });
  }

  std::map<std::string, std::uint64_t> read_bytes;

 private:
  const std::unique_ptr<Source> source_;
  std::mutex mutex_;
};

/// The boxes of an MP4 file, one after the other.
std::vector<std::string> BoxesOf(const std::string& file) {
  std::vector<std::string> boxes;
  for (std::size_t at = 0; at < file.size();) {
    std::size_t size_bytes = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      size_bytes = size_bytes << 8U | static_cast<unsigned char>(file[at + i]);
    }
    boxes.push_back(file.substr(at, size_bytes));
    at += size_bytes;
  }
  return boxes;
}

/// A box of so many bytes without meaning; with `wide`, its size stands where large sizes do.
std::string Filling(const std::string& type, std::size_t size_bytes, bool wide) {
  const auto big_endian = [](std::uint64_t value, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8U * unsigned(i)));
    return text;
  };
  std::string box =
      wide ? big_endian(1, 4) + type + big_endian(size_bytes, 8) : big_endian(size_bytes, 4) + type;
  box.resize(size_bytes, 'x');
  return box;
}

class EpisodeFetcherTest : public testing::Test {
 protected:
  EpisodeFetcherTest() {
    SynthOptions options;
    options.episodes = 1;
    options.steps = 3;
    EXPECT_THAT(Synthesize(folder_ / "data", options), IsOk());
    const std::vector<FileStamp> files = ListFiles(raw()).value();
    for (const FileStamp& file : files) {
      const fs::path path = file.name;
      if (path.filename() == "trajectory.h5") episode_ = path.parent_path();
    }
    options_.run_dir = folder_ / "run";
  }
  fs::path raw() const { return folder_ / "data/raw"; }
  fs::path AnyMp4() const {
    const auto recordings = FindRecordings(raw() / episode_).value();
    return recordings.begin()->second.files.front().path;
  }

  const TemporaryDirectory folder_;
  fs::path episode_;
  MetadataOptions options_;
};

TEST_F(EpisodeFetcherTest, AHeadSaysWhatTheRecordingSays) {
  const std::vector<std::string> boxes = BoxesOf(ReadFileText(AnyMp4()).value());
  std::string start;
  std::string movie;
  for (const std::string& box : boxes) {
    if (box.compare(4, 4, "ftyp") == 0) start = box;
    if (box.compare(4, 4, "moov") == 0) movie = box;
  }
  ASSERT_FALSE(movie.empty());
  for (const bool wide : {false, true}) {
    const std::string pictures = Filling("mdat", 3'000'000, wide);
    const std::string free = Filling("free", 5000, wide);
    for (const std::string& file : {start + movie + pictures,
                                    start + pictures + movie,
                                    start + free + pictures + free + movie + free}) {
      ASSERT_THAT(WriteFile(folder_ / "mp4/1.mp4", file), IsOk());
      WatchedFolder source(folder_ / "mp4");
      ASSERT_THAT(FetchHead(source, "1.mp4", file.size(), folder_ / "head/1.mp4"), IsOk());
      EXPECT_LE(source.read_bytes["1.mp4"], kHead_bytes + 8000);
      const auto have =
          SummarizeRecording(folder_ / "head/1.mp4", SvoFrames::kUnknown).value().info;
      const auto want = SummarizeRecording(folder_ / "mp4/1.mp4", SvoFrames::kUnknown).value().info;
      EXPECT_EQ(have.frame_count, want.frame_count);
      EXPECT_EQ(have.width_px, want.width_px);
      EXPECT_EQ(have.nominal_fps, want.nominal_fps);
      EXPECT_EQ(fs::file_size(folder_ / "head/1.mp4"), file.size());
    }
  }
}

TEST_F(EpisodeFetcherTest, AHeadOfABrokenFileIsNoError) {
  for (const std::string& file : {std::string("x"),
                                  std::string(100'000, '\0'),
                                  std::string("\0\0\0\1mdat", 8),
                                  Filling("mdat", 50, false) + std::string("\xff\xff\xff\xffmoov"),
                                  Filling("ftyp", 20, false) + Filling("moov", 900, false)}) {
    ASSERT_THAT(WriteFile(folder_ / "mp4/1.mp4", file), IsOk());
    WatchedFolder source(folder_ / "mp4");
    EXPECT_THAT(FetchHead(source, "1.mp4", file.size(), folder_ / "head/1.mp4"), IsOk());
    if (file.size() > 8000) continue;
    EXPECT_THAT(FetchHead(source, "1.mp4", file.size() + 1, folder_ / "head/1.mp4"),
                FailsAs("bad_download", HasSubstr("1.mp4")));
  }
}

TEST_F(EpisodeFetcherTest, FetchesWhatIsNeededAndNoMore) {
  ASSERT_THAT(WriteFile(raw() / episode_ / "trajectory_im128.h5", "no"), IsOk());
  ASSERT_THAT(WriteFile(raw() / episode_ / "recordings/SVO/99.svo", ""), IsOk());
  WatchedFolder source(raw());
  EpisodeFetcher fetcher(source, options_);
  const fs::path to = folder_ / "fetched";
  const auto bytes = fetcher.Fetch(episode_, to);
  ASSERT_THAT(bytes, IsOk());
  std::uint64_t read_bytes = 0;
  for (const auto& [path, count] : source.read_bytes) read_bytes += count;
  EXPECT_LE(read_bytes, *bytes);
  EXPECT_THAT(source.read_bytes, Not(Contains(testing::Key(HasSubstr("im128")))));
  EXPECT_EQ(ReadFileText(to / episode_ / "trajectory.h5").value(),
            ReadFileText(raw() / episode_ / "trajectory.h5").value());
  EXPECT_EQ(fs::file_size(to / episode_ / "recordings/SVO/99.svo"), 0U);
}

TEST_F(EpisodeFetcherTest, SaysWhatWasListed) {
  WatchedFolder source(raw());
  EpisodeFetcher fetcher(source, options_);
  ASSERT_THAT(fetcher.Fetch(episode_, folder_ / "fetched"), IsOk());
  EXPECT_EQ(ReadListing(folder_ / "fetched" / episode_ / kListedFile).value(),
            source.List(episode_, ListDepth::kTree).value());
}

TEST_F(EpisodeFetcherTest, FetchesHeadsOfAllRecordings) {
  const fs::path mp4 = AnyMp4();
  const fs::path copy = raw() / episode_ / "recordings/SVO" / mp4.stem() += ".svo";
  const std::string whole = ReadFileText(mp4).value() + Filling("free", 1'000'000, /*wide=*/false);
  for (const fs::path& file : {mp4, copy}) ASSERT_THAT(WriteFile(file, whole), IsOk());
  WatchedFolder source(raw());
  EpisodeFetcher fetcher(source, options_, FetchedRecordings::kHeads);
  ASSERT_THAT(fetcher.Fetch(episode_, folder_ / "fetched"), IsOk());
  std::uint64_t read_bytes = 0;
  for (const auto& [path, count] : source.read_bytes) read_bytes += count;
  EXPECT_EQ(fetcher.bytes_read(), read_bytes);
  for (const fs::path& file : {mp4, copy}) {
    const std::string name = fs::relative(file, raw());
    EXPECT_EQ(fs::file_size(folder_ / "fetched" / name), whole.size());
    EXPECT_GT(source.read_bytes[name], 0U);
    EXPECT_LE(source.read_bytes[name], 3 * kHead_bytes);
  }
}

/// A recording with a chunk for each message, and 300 kB behind each picture.
void WriteLargeSvo2(const fs::path& small, const fs::path& large) {
  const VideoOptions video{.codec = VideoCodec::kHevc, .width_px = 256, .height_px = 64};
  Svo2Writer svo2 = Svo2Writer::Open(small, {.video = video, .serial = "1"}).value();
  const RgbImage pair(video.width_px, video.height_px);
  for (std::uint64_t i = 0; i < 12; ++i) ASSERT_THAT(svo2.Write(pair.view(), 7 + i), IsOk());
  ASSERT_THAT(svo2.Close(), IsOk());
  ASSERT_THAT(MakeDirectories(large.parent_path()), IsOk());
  McapReader reader = McapReader::Open(small).value();
  McapWriterOptions options;
  options.chunk_bytes = 1;
  McapWriter writer = McapWriter::Open(large, options).value();
  std::map<std::string, std::uint16_t> channels;
  for (McapMessage message; reader.Next(message).value();) {
    const auto& [id, topic, encoding] = message.channel;
    if (!channels.contains(topic)) channels[topic] = writer.AddChannel(topic, encoding, 0).value();
    std::vector<std::byte> data(message.data.begin(), message.data.end());
    if (topic.starts_with("Camera_SN")) data.resize(data.size() + 300'000);
    ASSERT_THAT(writer.Write(channels[topic], message.log_time_ns, data), IsOk());
  }
  ASSERT_THAT(writer.Close(), IsOk());
}

TEST_F(EpisodeFetcherTest, AnSvo2FileTellsByWhatIsBetweenItsPictures) {
  WriteLargeSvo2(folder_ / "small.svo2", folder_ / "svo/1.svo2");
  const std::uint64_t size_bytes = fs::file_size(folder_ / "svo/1.svo2");
  WatchedFolder source(folder_ / "svo");
  const fs::path head = folder_ / "head/1.svo2";
  ASSERT_THAT(FetchHead(source, "1.svo2", size_bytes, head, FetchedRecordings::kHeads), IsOk());
  EXPECT_LT(source.read_bytes["1.svo2"], size_bytes / 2);
  const RecordingSummary have = SummarizeRecording(head, SvoFrames::kUnknown).value();
  EXPECT_EQ(have.info.frame_count, 12);
  EXPECT_EQ(have.info.serial, "1");
  EXPECT_EQ(have.info.width_px, 128);
  EXPECT_EQ(have.frame_times_ns.back(), 7 + 11);
  EXPECT_THAT(have.problems, testing::IsEmpty());
}

TEST_F(EpisodeFetcherTest, AMissingEpisodeHasAName) {
  WatchedFolder source(raw());
  EpisodeFetcher fetcher(source, options_);
  EXPECT_THAT(fetcher.Fetch((episode_.parent_path() / "none").string(), folder_ / "fetched"),
              FailsAs("not_in_bucket", HasSubstr("none")));
  EXPECT_FALSE(fs::exists(folder_ / "fetched" / episode_));
}

TEST_F(EpisodeFetcherTest, KeepsWholeFilesForTheNext) {
  options_.fetch.cache_dir = folder_ / "cache";
  WatchedFolder source(raw());
  EpisodeFetcher fetcher(source, options_);
  ASSERT_THAT(fetcher.Fetch(episode_, folder_ / "one"), IsOk());
  const std::string trajectory = episode_ / "trajectory.h5";
  const std::uint64_t before_bytes = source.read_bytes.at(trajectory);
  ASSERT_THAT(fetcher.Fetch(episode_, folder_ / "two"), IsOk());
  EXPECT_EQ(source.read_bytes.at(trajectory), before_bytes);
  EXPECT_EQ(ReadFileText(folder_ / "two" / trajectory).value(),
            ReadFileText(raw() / trajectory).value());
  const std::vector<FileStamp> files = ListFiles(folder_ / "cache").value();
  for (const FileStamp& file : files) {
    EXPECT_EQ(ReadFileText(folder_ / "cache" / file.name).value(),
              ReadFileText(raw() / file.name).value());
  }
}

}  // namespace
}  // namespace droidflow
