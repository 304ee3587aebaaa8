#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/formats/mcap_internal.h"
#include "droidflow/formats/mcap_reader.h"
#include "droidflow/formats/mcap_writer.h"
#include "droidflow/formats/record_internal.h"

#include <map>
#include <optional>
#include <random>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
constexpr std::array kCompressions{
    McapCompression::kNone, McapCompression::kLz4, McapCompression::kZstd};

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Message {
  std::string topic;
  std::uint64_t time_ns = 0;
  std::uint32_t sequence = 0;
  std::string data;

  bool operator==(const Message&) const = default;
};

/// What a reader gives until it ends.
struct Content {
  std::vector<Message> messages;
  std::optional<Error> error;
  std::vector<std::string> warnings;
  std::uint64_t bytes_read = 0;
};

void ReadOn(McapReader& reader, Content& content) {
  McapMessage message;
  for (;;) {
    const Result<bool> has_message = reader.Next(message);
    if (!has_message) content.error = has_message.error();
    if (!has_message || !*has_message) break;
    content.messages.push_back(
        {message.channel.topic,
         message.log_time_ns,
         message.sequence,
         std::string(reinterpret_cast<const char*>(message.data.data()), message.data.size())});
  }
  content.warnings = reader.warnings();
  content.bytes_read = reader.bytes_read();
}

using Select = std::function<bool(std::string_view)>;

/// @param select  empty: all topics.
Content ReadAll(const fs::path& path, const Select& select = {}) {
  Content content;
  auto reader = McapReader::Open(path);
  if (!reader) {
    content.error = reader.error();
    return content;
  }
  if (select) reader->SelectTopics(select);
  ReadOn(*reader, content);
  return content;
}

Select Only(std::string topic) {
  return [topic = std::move(topic)](std::string_view other) { return other == topic; };
}

std::vector<std::uint64_t> TimesOf(const std::vector<Message>& messages) {
  std::vector<std::uint64_t> times_ns;
  for (const Message& message : messages) times_ns.push_back(message.time_ns);
  return times_ns;
}

// ---- recordings written by another library

struct Fixture {
  const char* name;
  const char* serial;
  std::size_t num_frames;
  std::size_t num_footers;
};
constexpr std::array kFixtures{
    Fixture{"h264_none.svo2", "29838012", 24, 1},
    Fixture{"hevc_lz4_nofooter.svo2", "23404442", 24, 0},
    Fixture{"hevc_zstd.svo2", "23404442", 24, 1},
    Fixture{"jpeg_none.svo2", "19824535", 3, 1},
};

constexpr std::uint64_t kFirstFrame_ns = 1'700'000'000'000'000'000;

TEST(McapReader, ReadsWhatTheOfficialLibraryWrote) {
  DF_NEEDS_SHARED("data/svo2");
  for (const Fixture& fixture : kFixtures) {
    SCOPED_TRACE(fixture.name);
    const Content content = ReadAll(SharedPath("data/svo2") / fixture.name);
    EXPECT_EQ(content.error, std::nullopt);
    EXPECT_THAT(content.warnings, IsEmpty());
    std::map<std::string, std::size_t> counts;
    std::size_t num_frames = 0;
    const std::string camera = std::string("Camera_SN") + fixture.serial;
    for (const Message& message : content.messages) {
      ++counts[message.topic];
      if (message.topic != camera + "/side_by_side") continue;
      EXPECT_NEAR(static_cast<double>(message.time_ns - kFirstFrame_ns),
                  static_cast<double>(num_frames) / 15 * 1e9,
                  10)
          << num_frames;
      ++num_frames;
    }
    EXPECT_EQ(counts["svo_header"], 1U);
    EXPECT_EQ(counts[camera + "/side_by_side"], fixture.num_frames);
    EXPECT_EQ(counts[camera + "/sensors"], 3 * fixture.num_frames);
    EXPECT_EQ(counts["svo_footer"], fixture.num_footers);
  }
}

TEST(McapReader, ListsTheTimesOfTheMessagesInTheirOrderFromTheIndexes) {
  DF_NEEDS_SHARED("data/svo2");
  for (const Fixture& fixture : kFixtures) {
    SCOPED_TRACE(fixture.name);
    for (const std::string suffix : {"side_by_side", "sensors", ""}) {
      const Select select = [&](std::string_view topic) { return topic.ends_with(suffix); };
      auto reader = McapReader::Open(SharedPath("data/svo2") / fixture.name);
      ASSERT_THAT(reader, IsOk());
      reader->SelectTopics(select);
      const auto times_ns = reader->ListLogTimes();
      ASSERT_THAT(times_ns, IsOk());
      EXPECT_LT(reader->bytes_read(), 20'000U);
      EXPECT_THAT(reader->Channels(), SizeIs(3 + fixture.num_footers));
      // It rewinds: Next gives all of them.
      Content content;
      ReadOn(*reader, content);
      EXPECT_EQ(*times_ns, TimesOf(content.messages));
      EXPECT_GE(times_ns->size(), fixture.num_frames);
    }
  }
}

TEST(McapReader, ReadsTheFirstMessageWithoutReadingTheRest) {
  DF_NEEDS_SHARED("data/svo2");
  for (const Fixture& fixture : kFixtures) {
    SCOPED_TRACE(fixture.name);
    auto reader = McapReader::Open(SharedPath("data/svo2") / fixture.name);
    ASSERT_THAT(reader, IsOk());
    reader->SelectTopics(Only("svo_header"));
    McapMessage message;
    EXPECT_THAT(reader->Next(message), IsOk());
    EXPECT_EQ(message.channel.topic, "svo_header");
    EXPECT_EQ(message.channel.message_encoding, "json");
    EXPECT_EQ(message.data.front(), std::byte{'{'});
    // A compressed block must be read to its end; the one of lz4 is the whole chunk.
    if (std::string_view(fixture.name).find("none") != std::string_view::npos) {
      EXPECT_LE(reader->bytes_read(), 64U << 10);
    }
  }
}

TEST(McapReader, GivesEveryWholeMessageOfAChunkThatWasCutOff) {
  DF_NEEDS_SHARED("data/svo2");
  const Select select = [](std::string_view topic) { return topic.ends_with("side_by_side"); };
  const Content whole = ReadAll(SharedPath("data/svo2/hevc_zstd.svo2"), select);
  const Content cut = ReadAll(SharedPath("data/svo2/truncated.svo2"), select);
  ASSERT_THAT(cut.messages, SizeIs(8));
  EXPECT_TRUE(std::equal(cut.messages.begin(), cut.messages.end(), whole.messages.begin()));
  EXPECT_EQ(cut.error, std::nullopt);
  EXPECT_THAT(cut.warnings,
              ElementsAre("the file ends inside the chunk at byte 37: its recorder died"));

  auto reader = McapReader::Open(SharedPath("data/svo2/truncated.svo2"));
  ASSERT_THAT(reader, IsOk());
  reader->SelectTopics(select);
  EXPECT_EQ(*reader->ListLogTimes(), TimesOf(cut.messages));
  Content again;
  ReadOn(*reader, again);
  EXPECT_EQ(again.messages, cut.messages);
  EXPECT_THAT(reader->warnings(), SizeIs(1));
}

// ---- files of the writer

/// Messages of three topics, of 0 to 299 bytes, times not in order.
std::vector<Message> SampleMessages(std::size_t count) {
  std::mt19937 random(5);
  std::map<std::string, std::uint32_t> sequences;
  std::vector<Message> messages;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string topic(1, "abc"[random() % 3]);
    std::string data(random() % 300, '\0');
    // Half random and half not: something is left to compress.
    for (std::size_t k = 0; k < data.size() / 2; ++k) data[k] = static_cast<char>(random());
    messages.push_back({topic, 1'000'000 + random() % 1000, sequences[topic]++, data});
  }
  return messages;
}

Status WriteSample(const fs::path& path,
                   const std::vector<Message>& messages,
                   const McapWriterOptions& options) {
  DF_ASSIGN_OR_RETURN(McapWriter writer, McapWriter::Open(path, options));
  DF_ASSIGN_OR_RETURN(const std::uint16_t schema,
                      writer.AddSchema("thing", "jsonschema", AsBytes("{}")));
  std::map<std::string, std::uint16_t> ids;
  for (const std::string topic : {"a", "b", "c", "never used"}) {
    const std::uint16_t its_schema = topic == "b" ? 0 : schema;
    DF_ASSIGN_OR_RETURN(ids[topic], writer.AddChannel(topic, "json", its_schema));
  }
  for (const Message& message : messages) {
    DF_RETURN_IF_ERROR(writer.Write(ids[message.topic], message.time_ns, AsBytes(message.data)));
  }
  return writer.Close();
}

McapWriterOptions OptionsFor(McapCompression compression, std::size_t chunk_bytes) {
  return {.compression = compression, .chunk_bytes = chunk_bytes, .profile = "test"};
}

TEST(Mcap, GivesBackWhatWasWritten) {
  const TemporaryDirectory directory;
  const std::vector<Message> messages = SampleMessages(500);
  for (const McapCompression compression : kCompressions) {
    for (const std::size_t chunk_bytes : {1UL, 5000UL, 1UL << 20}) {
      SCOPED_TRACE(fmt::format("compression {}, {} bytes", int(compression), chunk_bytes));
      const fs::path path = directory / "sample.mcap";
      ASSERT_THAT(WriteSample(path, messages, OptionsFor(compression, chunk_bytes)), IsOk());
      const Content all = ReadAll(path);
      EXPECT_EQ(all.error, std::nullopt);
      EXPECT_THAT(all.warnings, IsEmpty());
      EXPECT_TRUE(all.messages == messages);

      for (const std::string topic : {"a", "b", "c", "never used"}) {
        std::vector<Message> expected;
        std::ranges::copy_if(messages, std::back_inserter(expected), [&](const Message& message) {
          return message.topic == topic;
        });
        auto reader = McapReader::Open(path);
        ASSERT_THAT(reader, IsOk());
        reader->SelectTopics(Only(topic));
        EXPECT_EQ(*reader->ListLogTimes(), TimesOf(expected));
        Content content;
        ReadOn(*reader, content);
        EXPECT_EQ(content.error, std::nullopt);
        EXPECT_TRUE(content.messages == expected);
      }
    }
  }
}

TEST(Mcap, GivesBackMessagesLargerThanAllBuffers) {
  const TemporaryDirectory directory;
  std::mt19937 random(8);
  std::string data(3'000'001, '\0');
  for (std::size_t i = 0; i < data.size(); i += 3) data[i] = static_cast<char>(random());
  const std::vector<Message> messages{{"a", 1, 0, data}, {"b", 2, 0, ""}, {"a", 3, 1, data + "x"}};
  for (const McapCompression compression : kCompressions) {
    ASSERT_THAT(WriteSample(directory / "x", messages, OptionsFor(compression, 1 << 20)), IsOk());
    EXPECT_TRUE(ReadAll(directory / "x").messages == messages);
  }
}

TEST(McapWriter, GivesTheSameBytesForTheSameCalls) {
  const TemporaryDirectory directory;
  for (const McapCompression compression : kCompressions) {
    for (const char* const name : {"one", "two"}) {
      ASSERT_THAT(WriteSample(directory / name, SampleMessages(100), OptionsFor(compression, 5000)),
                  IsOk());
    }
    EXPECT_TRUE(ReadFileText(directory / "one") == ReadFileText(directory / "two"));
  }
}

TEST(McapWriter, LeavesNothingBehindWithoutClose) {
  const TemporaryDirectory directory;
  {
    auto writer = McapWriter::Open(directory / "x.mcap", {});
    ASSERT_THAT(writer, IsOk());
    const auto channel = writer->AddChannel("a", "json", 0);
    ASSERT_THAT(channel, IsOk());
    ASSERT_THAT(writer->Write(*channel, 1, AsBytes("{}")), IsOk());
    EXPECT_FALSE(fs::exists(directory / "x.mcap"));
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(McapWriter, SaysThatTheFolderCannotBeMade) {
  EXPECT_THAT(McapWriter::Open("/proc/nowhere/x.mcap", {}),
              FailsWith(ErrorKind::kInternal, EndsWith("/proc/nowhere")));
}

TEST(McapWriterDeathTest, DiesWhenItIsMisused) {
  const TemporaryDirectory directory;
  auto writer = McapWriter::Open(directory / "x.mcap", {});
  ASSERT_THAT(writer, IsOk());
  EXPECT_DEATH((void)writer->Write(1, 0, {}), "channel 1 of 0");
  EXPECT_DEATH((void)writer->AddChannel("a", "json", 1), "schema 1 of 0");
  ASSERT_THAT(writer->Close(), IsOk());
  EXPECT_DEATH((void)writer->Close(), "x.mcap is closed");
}

// ---- what is not read

std::string Flipped(std::string bytes, std::size_t byte) {
  bytes[byte] = static_cast<char>(bytes[byte] ^ 1);
  return bytes;
}

TEST(McapReader, DoesNotOpenChunksInWhichTheIndexesShowNothingWanted) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "sample.mcap";
  std::vector<Message> messages;
  std::mt19937 random(6);
  for (std::uint32_t i = 0; i < 100; ++i) {
    messages.push_back({"a", i, i, std::string(50'000, '\0')});
    for (char& c : messages.back().data) c = static_cast<char>(random());
  }
  messages.push_back({"b", 100, 0, "here"});
  for (const McapCompression compression : kCompressions) {
    ASSERT_THAT(WriteSample(path, messages, OptionsFor(compression, 1 << 19)), IsOk());
    const Content content = ReadAll(path, Only("b"));
    EXPECT_EQ(content.messages, std::vector{messages.back()});
    if (compression == McapCompression::kNone) {
      EXPECT_LT(content.bytes_read, 200'000U);
    }
    // A chunk with nothing wanted may be damaged: nobody looks.
    const std::string bytes = *ReadFileText(path);
    const std::size_t middle = bytes.size() / 2;
    ASSERT_THAT(WriteFile(path, Flipped(bytes, middle)), IsOk());
    EXPECT_EQ(ReadAll(path, Only("b")).messages, std::vector{messages.back()});
    EXPECT_NE(ReadAll(path).error, std::nullopt);
  }
}

TEST(McapReader, CountsASelectionFromTheNextMessageOn) {
  const TemporaryDirectory directory;
  const std::vector<Message> messages{
      {"a", 1, 0, "1"}, {"b", 2, 0, "2"}, {"a", 3, 1, "3"}, {"b", 4, 1, "4"}};
  ASSERT_THAT(WriteSample(directory / "x", messages, {}), IsOk());
  auto reader = McapReader::Open(directory / "x");
  ASSERT_THAT(reader, IsOk());
  McapMessage message;
  ASSERT_THAT(reader->Next(message), IsOk());
  reader->SelectTopics(Only("a"));
  ASSERT_THAT(reader->Next(message), IsOk());
  EXPECT_EQ(message.log_time_ns, 3U);
  reader->SelectTopics({});
  ASSERT_THAT(reader->Rewind(), IsOk());
  Content content;
  ReadOn(*reader, content);
  EXPECT_EQ(content.messages, messages);
}

// ---- files built by hand

std::string Prefixed(std::string_view text) {
  return LittleEndianRecord().U32(text.size()).Text(text).bytes();
}

std::string RecordOf(int opcode, std::string_view content) {
  return LittleEndianRecord().U8(opcode).U64(content.size()).Text(content).bytes();
}

std::string ChannelRecord(int id, std::string_view topic) {
  return RecordOf(mcap::kChannel,
                  LittleEndianRecord()
                      .U16(id)
                      .U16(0)
                      .Text(Prefixed(topic))
                      .Text(Prefixed("json"))
                      .U32(0)
                      .bytes());
}

std::string MessageRecord(int channel, std::uint64_t time_ns, std::string_view data) {
  return RecordOf(
      mcap::kMessage,
      LittleEndianRecord().U16(channel).U32(0).U64(time_ns).U64(time_ns).Text(data).bytes());
}

/// @param stored  the records as the file holds them; `size` is what they have uncompressed.
std::string ChunkRecord(std::string_view compression,
                        std::string_view stored,
                        std::uint64_t size,
                        std::uint32_t crc32 = 0) {
  return RecordOf(mcap::kChunk,
                  LittleEndianRecord()
                      .U64(0)
                      .U64(0)
                      .U64(size)
                      .U32(crc32)
                      .Text(Prefixed(compression))
                      .U64(stored.size())
                      .Text(stored)
                      .bytes());
}

std::string ChunkRecord(std::string_view records) {
  return ChunkRecord("", records, records.size());
}

std::string IndexRecord(int channel, std::uint64_t time_ns, std::uint64_t offset) {
  return RecordOf(mcap::kMessageIndex,
                  LittleEndianRecord().U16(channel).U32(16).U64(time_ns).U64(offset).bytes());
}

/// A file without a summary.
std::string FileOf(std::string_view records) {
  return std::string(mcap::kMagic)
      .append(RecordOf(mcap::kHeader, Prefixed("") + Prefixed("by hand")))
      .append(records)
      .append(RecordOf(mcap::kDataEnd, LittleEndianRecord().U32(0).bytes()))
      .append(RecordOf(mcap::kFooter, LittleEndianRecord().Zeros(mcap::kFooter_bytes).bytes()))
      .append(mcap::kMagic);
}

Content ReadBytes(std::string_view bytes, const Select& select = {}) {
  const TemporaryDirectory directory;
  EXPECT_THAT(WriteFile(directory / "x.mcap", bytes), IsOk());
  return ReadAll(directory / "x.mcap", select);
}

TEST(McapReader, FindsAChannelThatIsDescribedInAChunkWithNoneOfItsMessages) {
  // As a writer leaves it that closes a full chunk between the two.
  const std::string first = ChannelRecord(1, "a") + MessageRecord(1, 10, "one");
  const std::string second = MessageRecord(1, 20, "two") + ChannelRecord(2, "b");
  const std::string third = MessageRecord(2, 30, "three") + MessageRecord(1, 40, "four");
  const std::string bytes =
      FileOf(ChunkRecord(first) + IndexRecord(1, 10, 0) + ChunkRecord(second) +
             IndexRecord(1, 20, 0) + ChunkRecord(third) + IndexRecord(2, 30, 0) +
             IndexRecord(1, 40, MessageRecord(2, 30, "three").size()));
  const Content content = ReadBytes(bytes, Only("b"));
  EXPECT_EQ(content.error, std::nullopt);
  EXPECT_EQ(content.messages, (std::vector<Message>{{"b", 30, 0, "three"}}));

  const TemporaryDirectory directory;
  ASSERT_THAT(WriteFile(directory / "x.mcap", bytes), IsOk());
  auto reader = McapReader::Open(directory / "x.mcap");
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT(*reader->ListLogTimes(), ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(*reader->ListLogTimes(), ElementsAre(10, 20, 30, 40));
}

TEST(McapReader, ReadsMessagesOutsideChunksAndStepsOverWhatItDoesNotKnow) {
  const std::string unknown = RecordOf(0x7F, "???");
  const std::string attachment = RecordOf(0x09, std::string(100'000, 'x'));
  const std::string metadata = RecordOf(0x0C, std::string(100, 'y'));
  const std::string bytes =
      FileOf(ChannelRecord(7, "a") + MessageRecord(7, 1, "outside") + unknown + attachment +
             ChunkRecord(unknown + MessageRecord(7, 2, "inside") + unknown) + metadata +
             MessageRecord(7, 3, "") + ChunkRecord(""));
  const Content content = ReadBytes(bytes);
  EXPECT_EQ(content.error, std::nullopt);
  EXPECT_THAT(content.warnings, IsEmpty());
  EXPECT_EQ(content.messages,
            (std::vector<Message>{{"a", 1, 0, "outside"}, {"a", 2, 0, "inside"}, {"a", 3, 0, ""}}));
  EXPECT_LT(content.bytes_read, 50'000U);
}

TEST(McapReader, OrdersTimesByPlaceNotByIndex) {
  const std::string messages =
      MessageRecord(1, 50, "") + MessageRecord(2, 30, "") + MessageRecord(1, 40, "");
  const std::size_t one = MessageRecord(1, 50, "").size();
  const TemporaryDirectory directory;
  const std::string index =
      RecordOf(mcap::kMessageIndex,
               LittleEndianRecord().U16(1).U32(32).U64(40).U64(2 * one).U64(50).U64(0).bytes());
  ASSERT_THAT(
      WriteFile(directory / "x",
                FileOf(ChannelRecord(1, "a") + ChannelRecord(2, "b") + MessageRecord(2, 60, "") +
                       ChunkRecord(messages) + index + IndexRecord(2, 30, one))),
      IsOk());
  auto reader = McapReader::Open(directory / "x");
  ASSERT_THAT(reader, IsOk());
  EXPECT_THAT(*reader->ListLogTimes(), ElementsAre(60, 50, 30, 40));
}

// ---- damage

TEST(McapReader, RefusesWhatIsNoMcap) {
  const TemporaryDirectory directory;
  EXPECT_THAT(McapReader::Open(directory / "none"),
              FailsWith(ErrorKind::kNotFound, EndsWith("/none")));
  EXPECT_THAT(McapReader::Open(directory.path()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want a regular file")));
  for (const std::string text : {"", "\x89MCAP0\r", "\x89MCAP1\r\n and more"}) {
    ASSERT_THAT(WriteFile(directory / "x", text), IsOk());
    EXPECT_THAT(McapReader::Open(directory / "x"),
                FailsWith(ErrorKind::kInvalidData,
                          HasSubstr(fmt::format("want an MCAP file, its first {} bytes",
                                                std::min<std::size_t>(text.size(), 8)))));
  }
}

/// Everything, then the messages of topic b, then everybody's times, from one reader.
struct Views {
  Content all;
  Content only_b;
  Result<std::vector<std::uint64_t>> times_ns;
};

Views ReadViews(McapReader reader) {
  Views views;
  views.times_ns = reader.ListLogTimes();
  ReadOn(reader, views.all);
  reader.SelectTopics(Only("b"));
  EXPECT_THAT(reader.Rewind(), IsOk());
  ReadOn(reader, views.only_b);
  return views;
}

TEST(McapReader, GivesAPrefixWhereverTheFileIsCutOff) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "sample.mcap";
  const std::vector<Message> messages = SampleMessages(12);
  for (const McapCompression compression : kCompressions) {
    ASSERT_THAT(WriteSample(path, messages, OptionsFor(compression, 700)), IsOk());
    const std::size_t whole = fs::file_size(path);
    std::size_t num_longer = messages.size();
    for (std::size_t size = whole; size >= mcap::kMagic.size(); --size) {
      SCOPED_TRACE(fmt::format("compression {}, {} bytes", int(compression), size));
      fs::resize_file(path, size);
      auto reader = McapReader::Open(path);
      ASSERT_THAT(reader, IsOk());
      const Views views = ReadViews(*std::move(reader));
      ASSERT_EQ(views.all.error, std::nullopt);
      // The magic behind the footer may be missing.
      const bool has_footer = size + mcap::kMagic.size() >= whole;
      ASSERT_EQ(views.all.warnings.empty(), has_footer);
      const std::size_t count = views.all.messages.size();
      ASSERT_LE(count, num_longer);
      ASSERT_TRUE(!has_footer || count == messages.size());
      num_longer = count;
      ASSERT_TRUE(std::equal(messages.begin(),
                             messages.begin() + static_cast<std::ptrdiff_t>(count),
                             views.all.messages.begin()));
      ASSERT_THAT(views.times_ns, IsOk());
      ASSERT_EQ(*views.times_ns, TimesOf(views.all.messages));
      std::vector<Message> expected;
      std::ranges::copy_if(views.all.messages,
                           std::back_inserter(expected),
                           [](const Message& message) { return message.topic == "b"; });
      ASSERT_EQ(views.only_b.messages, expected);
    }
    EXPECT_EQ(num_longer, 0U);
  }
}

TEST(McapReader, SurvivesFlippedBits) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "sample.mcap";
  std::mt19937 random(11);
  const std::vector<Message> messages = SampleMessages(12);
  for (const McapCompression compression : kCompressions) {
    ASSERT_THAT(WriteSample(path, messages, OptionsFor(compression, 700)), IsOk());
    const std::string bytes = *ReadFileText(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](std::size_t byte, int bits) {
      file.seekp(static_cast<std::streamoff>(byte));
      file.put(static_cast<char>(bytes[byte] ^ bits)).flush();
    };
    for (int i = 0; i < 1000; ++i) {
      const std::size_t byte = random() % bytes.size();
      const int bit = static_cast<int>(random() % 8);
      SCOPED_TRACE(fmt::format("compression {}, bit {} of byte {}", int(compression), bit, byte));
      put(byte, 1 << bit);
      auto reader = McapReader::Open(path);
      if (reader) {
        const Content all = ReadViews(*std::move(reader)).all;
        // Damage may make two messages of one, but not many.
        ASSERT_LE(all.messages.size(), 2 * messages.size());
        if (all.error) {
          ASSERT_THAT(all.error->message, AllOf(HasSubstr("byte "), EndsWith("sample.mcap")));
        }
      }
      put(byte, 0);
    }
    EXPECT_TRUE(ReadAll(path).messages == messages);
  }
}

TEST(McapReader, SaysWhichChunkHasTheWrongChecksum) {
  const std::string records = ChannelRecord(1, "a") + MessageRecord(1, 1, "data");
  const std::uint32_t crc = Crc32(AsBytes(records));
  EXPECT_EQ(ReadBytes(FileOf(ChunkRecord("", records, records.size(), crc))).error, std::nullopt);
  const Content content = ReadBytes(FileOf(ChunkRecord("", records, records.size(), crc ^ 1)));
  ASSERT_TRUE(content.error.has_value());
  EXPECT_EQ(content.error->kind, ErrorKind::kInvalidData);
  EXPECT_THAT(content.error->message,
              HasSubstr(fmt::format("the chunk from byte 32 to here should have CRC-32 {:08x}, it "
                                    "has {:08x}",
                                    crc ^ 1,
                                    crc)));
  EXPECT_THAT(content.messages, SizeIs(1));
}

TEST(McapReader, RefusesLengthsThatCannotBe) {
  const std::string good = ChannelRecord(1, "a") + MessageRecord(1, 1, "data");
  const auto long_record = [](int opcode, std::uint64_t length) {
    return LittleEndianRecord().U8(opcode).U64(length).bytes();
  };
  const std::vector<std::pair<std::string, std::string>> cases{
      {ChunkRecord(good + long_record(mcap::kMessage, std::uint64_t{1} << 40) + good),
       "says it has 1099511627776 bytes, at most"},
      {ChunkRecord(good + "12345678"), "want a record, the chunk has 8 more bytes"},
      {ChunkRecord(good + RecordOf(0, "")), "found opcode 0"},
      {ChunkRecord(good + RecordOf(mcap::kMessage, "short")), "a message of 5 bytes"},
      {ChunkRecord(good + MessageRecord(2, 1, "")), "channel 2, which is not described"},
      {ChunkRecord(good + ChunkRecord(good)), "a chunk inside a chunk"},
      {RecordOf(mcap::kChannel, LittleEndianRecord().U32(1).U32(0xFFFFFFFF).Zeros(20).bytes()),
       "byte 32: a channel that needs more than its 28 bytes"},
      {RecordOf(mcap::kChannel, ""), "a channel that needs more than its 0 bytes"},
      {long_record(mcap::kMessage, ~std::uint64_t{0}), "byte 32: a record of opcode 5 that says"},
      {long_record(mcap::kChannel, 300'000'000),
       "byte 32: a record of opcode 4 with 300000000 bytes, want at most 65536"},
      {ChannelRecord(1, "a") +
           LittleEndianRecord().U8(mcap::kMessage).U64(300'000'000).U16(1).Zeros(20).bytes(),
       "a record of opcode 5 with 299999978 bytes"},
      {RecordOf(mcap::kChunk, "short"), "byte 32: a chunk of 5 bytes"},
      {RecordOf(mcap::kChunk, LittleEndianRecord().Zeros(28).U32(0x7FFFFFFF).Zeros(8).bytes()),
       "a chunk of 40 bytes that says 2147483647"},
      {RecordOf(mcap::kChunk, LittleEndianRecord().Zeros(32).U64(7).bytes()),
       "a chunk of 40 bytes that says 7"},
      {ChunkRecord("", good, good.size() + 1), "about its content"},
      {ChunkRecord("brotli\n", good, 1),
       "want a chunk with lz4, zstd or no compression, have "
       "brotli?"},
      {ChunkRecord("lz4", good, good.size()), "lz4: ERROR_frameType_unknown"},
      {ChunkRecord("zstd", good, good.size()), "zstd: Unknown frame descriptor"},
      {ChunkRecord("zstd", "", 1'000'000'000'000), "zstd ends early, 1000000000000 bytes of"},
  };
  for (const auto& [records, message] : cases) {
    SCOPED_TRACE(message);
    const Content content = ReadBytes(FileOf(records));
    ASSERT_TRUE(content.error.has_value());
    EXPECT_THAT(content.error->message, HasSubstr(message));
    EXPECT_THAT(content.error->message, AllOf(HasSubstr("byte "), EndsWith("x.mcap")));
  }
}

TEST(McapReader, TakesALongRecordInAShortFileForOneThatWasCutOff) {
  const Content content = ReadBytes(
      FileOf(ChannelRecord(1, "a") + MessageRecord(1, 1, "data") +
             LittleEndianRecord().U8(mcap::kMessage).U64(250'000'000).U16(1).Zeros(20).bytes()));
  EXPECT_EQ(content.error, std::nullopt);
  EXPECT_THAT(content.messages, SizeIs(1));
  EXPECT_THAT(content.warnings, ElementsAre(HasSubstr("the file has no end record")));
}

/// A zstd frame with one stored block (RFC 8878, 3.1.1).
std::string ZstdFrame(int window_log, std::string_view content) {
  return LittleEndianRecord()
      .U32(0xFD2FB528)
      .U8(0)  // No size, no checksum.
      .U8(static_cast<std::uint64_t>(window_log - 10) << 3)
      .U16((content.size() << 3 | 1) & 0xFFFF)
      .U8(content.size() >> 13)
      .Text(content)
      .bytes();
}

TEST(McapReader, GrantsZstd128MegabytesAndNoMore) {
  const std::string records = ChannelRecord(1, "a") + MessageRecord(1, 1, "data");
  const std::uint64_t size = records.size();
  const Content good = ReadBytes(FileOf(ChunkRecord("zstd", ZstdFrame(27, records), size)));
  EXPECT_EQ(good.error, std::nullopt);
  EXPECT_THAT(good.messages, SizeIs(1));
  const Content greedy = ReadBytes(FileOf(ChunkRecord("zstd", ZstdFrame(28, records), size)));
  ASSERT_TRUE(greedy.error.has_value());
  EXPECT_THAT(greedy.error->message, HasSubstr("Frame requires too much memory"));
}

TEST(McapReader, RefusesAStreamThatIsNotAsLongAsItsChunkSays) {
  const std::string records = ChannelRecord(1, "a") + MessageRecord(1, 1, "data");
  const std::string frame = ZstdFrame(20, records);
  const auto error_of = [&](std::string_view stored, std::uint64_t size) {
    const Content content = ReadBytes(FileOf(ChunkRecord("zstd", stored, size)));
    EXPECT_THAT(content.messages, SizeIs(1));
    return content.error ? content.error->message : "none";
  };
  EXPECT_THAT(error_of(frame, records.size() + 9), HasSubstr("zstd ends early, 9 bytes of"));
  EXPECT_THAT(error_of(frame + frame, records.size()), HasSubstr("zstd goes on after"));
  // The block says that another one follows.
  EXPECT_THAT(error_of(Flipped(frame, 6), records.size()), HasSubstr("zstd has no end after"));
}

TEST(McapReader, ReadsChunksOfSeveralFrames) {
  const std::string one = ChannelRecord(1, "a") + MessageRecord(1, 1, "data");
  const std::string two = MessageRecord(1, 2, "more");
  const Content content = ReadBytes(FileOf(
      ChunkRecord("zstd", ZstdFrame(20, one) + ZstdFrame(20, two), one.size() + two.size())));
  EXPECT_EQ(content.error, std::nullopt);
  EXPECT_EQ(TimesOf(content.messages), (std::vector<std::uint64_t>{1, 2}));
}

TEST(McapReader, RepeatsItsErrorUntilItIsRewound) {
  const TemporaryDirectory directory;
  const std::string records = ChannelRecord(1, "a") + MessageRecord(1, 1, "data");
  ASSERT_THAT(WriteFile(directory / "x", FileOf(ChunkRecord(records + RecordOf(0, "")))), IsOk());
  auto reader = McapReader::Open(directory / "x");
  ASSERT_THAT(reader, IsOk());
  McapMessage message;
  EXPECT_TRUE(reader->Next(message).value_or(false));
  EXPECT_THAT(reader->Next(message), FailsWith(ErrorKind::kInvalidData, HasSubstr("opcode 0")));
  EXPECT_THAT(reader->Next(message), FailsWith(ErrorKind::kInvalidData, HasSubstr("opcode 0")));
  ASSERT_THAT(reader->Rewind(), IsOk());
  EXPECT_TRUE(reader->Next(message).value_or(false));
}

TEST(McapReader, EndsWithAWarningWhenTheFileShrinks) {
  const TemporaryDirectory directory;
  const fs::path path = directory / "x";
  const std::vector<Message> messages{
      {"a", 1, 0, "1"}, {"a", 2, 1, std::string(1'000'000, 'x')}, {"a", 3, 2, "3"}};
  ASSERT_THAT(WriteSample(path, messages, {}), IsOk());
  auto reader = McapReader::Open(path);
  ASSERT_THAT(reader, IsOk());
  McapMessage message;
  EXPECT_TRUE(reader->Next(message).value_or(false));
  fs::resize_file(path, 500'000);
  EXPECT_FALSE(reader->Next(message).value_or(true));
  EXPECT_FALSE(reader->Next(message).value_or(true));
  EXPECT_THAT(reader->warnings(), ElementsAre(HasSubstr("the file ends inside the chunk at byte")));
}

}  // namespace
}  // namespace droidflow
