#include "droidflow/jobs/wire_internal.h"

#include "droidflow/core/result_matchers.h"

namespace droidflow::wire {
namespace {

using ::testing::HasSubstr;

TEST(FrameBuffer, JoinsPieces) {
  std::string stream;
  AppendText(stream, "first");
  AppendText(stream, "");
  AppendText(stream, std::string("a\0b", 3));
  EXPECT_EQ(stream.substr(0, 9), std::string("\x05\0\0\0first", 9));

  FrameBuffer frames;
  std::vector<std::string> bodies;
  for (const char byte : stream) {
    frames.Append({&byte, 1});
    while (auto body = frames.Take().value()) bodies.push_back(*body);
  }
  EXPECT_EQ(bodies, (std::vector<std::string>{"first", "", std::string("a\0b", 3)}));
}

TEST(FrameBuffer, RefusesALengthThatNobodySends) {
  FrameBuffer frames;
  frames.Append("\xff\xff\xff\xff....");
  EXPECT_THAT(frames.Take(),
              FailsWith(ErrorKind::kInvalidData,
                        HasSubstr("says it has 4294967295 bytes, want at most 67108864")));
}

TEST(FieldReader, StopsWhereTheBodyIsCutShort) {
  std::string body;
  AppendText(body, "12");
  AppendText(body, "x2");
  FieldReader reader(body);
  EXPECT_EQ(reader.Int(), 12);
  EXPECT_EQ(reader.Int(), std::nullopt);  // no number
  EXPECT_TRUE(reader.AtEnd());
  EXPECT_EQ(reader.Text(), std::nullopt);
  for (std::size_t size = 0; size < 6; ++size) {
    EXPECT_EQ(FieldReader(std::string_view(body).substr(0, size)).Text(), std::nullopt) << size;
  }
}

TEST(TaskMessage, ComesBackAsItWas) {
  const TaskMessage sent{.task = {.key = "k\n", .payload = std::string("\0p", 2)}, .attempt = 2};
  const std::string body = EncodeTask(sent);
  const auto received = DecodeTask(body);
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->task.key, sent.task.key);
  EXPECT_EQ(received->task.payload, sent.task.payload);
  EXPECT_EQ(received->attempt, 2);
  EXPECT_FALSE(DecodeTask(body + "more").has_value());
}

TEST(TaskResultMessage, ComesBackAsItWasAndNotInPart) {
  TaskResult sent = FailedTask({ErrorKind::kBusy, "held", "busy"});
  sent.failed_stage = "write";
  sent.stages = {{"read", 0.125}};
  sent.files = {{"f", 1, 2}};
  sent.output_bytes = 9;
  sent.directory = "d";
  sent.detail = "{}";
  sent.pid = 5;
  sent.peak_rss_bytes = 6;
  const std::string text = EncodeResult(sent);
  const auto received = DecodeResult(text);
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->state, TaskState::kQuarantined);
  EXPECT_EQ(received->error, sent.error);
  EXPECT_EQ(received->failed_stage, "write");
  EXPECT_EQ(received->stages, sent.stages);
  EXPECT_EQ(received->files, sent.files);
  EXPECT_EQ(received->output_bytes, 9U);
  EXPECT_EQ(received->directory, "d");
  EXPECT_EQ(received->detail, "{}");
  EXPECT_EQ(received->pid, 5);
  EXPECT_EQ(received->peak_rss_bytes, 6U);
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(DecodeResult(std::string_view(text).substr(0, size)).has_value()) << size;
  }
}

TEST(TaskResultMessage, MustSayWhyATaskIsNotDone) {
  std::string text = EncodeResult(TaskResult{});
  ASSERT_TRUE(DecodeResult(text).has_value());
  // "done" and "quarantined" differ in length: build the field anew.
  std::string other;
  AppendText(other, "quarantined");
  EXPECT_FALSE(DecodeResult(other + text.substr(8)).has_value());
}

TEST(ErrorMessage, RefusesAKindThatIsNone) {
  const Error error{ErrorKind::kInternal, "m", "s"};
  std::string text = EncodeError(error);
  EXPECT_EQ(DecodeError(text), error);
  text[4] = '9';  // the last kind is 8
  EXPECT_EQ(DecodeError(text), std::nullopt);
}

TEST(Stages, AreParsedAsTheyWereFormatted) {
  const std::vector<StageTime> stages{{"read file", 12.5}, {"", 0}, {"µ", 1e9}};
  EXPECT_EQ(ParseStages(FormatStages(stages)).value(), stages);
  EXPECT_THAT(
      ParseStages("1.5 read\nfast write\n"),
      FailsWith(ErrorKind::kInvalidData, "stage 1: want 'milliseconds name', have 'fast write\n'"));
  EXPECT_THAT(ParseStages("1.5 read"), FailsWith(ErrorKind::kInvalidData, HasSubstr("stage 0")));
}

TEST(Stamps, AreParsedAsTheyWereFormatted) {
  const std::vector<FileStamp> stamps{{"a b\nc", ~0ULL, -1}, {"", 0, 0}};
  EXPECT_EQ(ParseStamps(FormatStamps(stamps)).value(), stamps);
  EXPECT_THAT(ParseStamps("1 2 999999999999 a\n"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("file 0")));
  EXPECT_THAT(ParseStamps("1 2 18446744073709551615 a\n"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("file 0")));
  EXPECT_THAT(ParseStamps("-1 2 1 a\n"), FailsWith(ErrorKind::kInvalidData, HasSubstr("-1 2")));
}

}  // namespace
}  // namespace droidflow::wire
