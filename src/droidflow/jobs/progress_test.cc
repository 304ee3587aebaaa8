#include "droidflow/jobs/progress.h"

#include <fcntl.h>
#include <sstream>
#include <string>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using namespace std::chrono_literals;
using Style = ProgressOptions::Style;

/// A clock that only moves when it is told to.
struct Clock {
  std::chrono::steady_clock::time_point time{};
  [[nodiscard]] ProgressOptions Options(Style style, int width = 120) {
    return {.style = style, .now = [this] { return time; }, .width = [width] { return width; }};
  }
};

TEST(FormatDuration, ChoosesTwoUnits) {
  EXPECT_EQ(FormatDuration(0ms), "0.0 s");
  EXPECT_EQ(FormatDuration(12'340ms), "12.3 s");
  EXPECT_EQ(FormatDuration(59'949ms), "59.9 s");
  EXPECT_EQ(FormatDuration(59'950ms), "1 m 00 s");
  EXPECT_EQ(FormatDuration(125s), "2 m 05 s");
  EXPECT_EQ(FormatDuration(1h), "1 h 00 m");
  EXPECT_EQ(FormatDuration(62min + 59s), "1 h 02 m");
  EXPECT_EQ(FormatDuration(76h), "3 d 04 h");
}

TEST(Progress, WritesALineEveryTenSeconds) {
  Clock clock;
  std::ostringstream out;
  Progress progress(out, clock.Options(Style::kLines), {.total = 100, .ok = 40});
  progress.Update({.total = 100, .ok = 40});
  EXPECT_EQ(out.str(), "");
  clock.time += 10s;
  progress.Update({.total = 100, .ok = 58, .failed = 2});
  // 20 in 10 s, 40 left.
  EXPECT_EQ(out.str(), "60/100 60.0%, 2.0/s, ETA 20.0 s, 58 ok, 2 failed\n");
  clock.time += 9s;
  progress.Update({.total = 100, .ok = 59, .failed = 2});
  out.str("");
  progress.Finish({.total = 100, .ok = 59, .failed = 41});
  EXPECT_EQ(out.str(), "100/100 100.0%, 3.2/s, 59 ok, 41 failed\n");
}

TEST(Progress, CountsSlowWorkByTheMinute) {
  Clock clock;
  std::ostringstream out;
  Progress progress(out, clock.Options(Style::kLines), {.total = 3});
  clock.time += 20s;
  progress.Update({.total = 3, .ok = 1});
  EXPECT_EQ(out.str(), "1/3 33.3%, 3.0/min, ETA 40.0 s, 1 ok, 0 failed\n");
}

TEST(Progress, DrawsABarAtMostFiveTimesASecond) {
  Clock clock;
  std::ostringstream out;
  Progress progress(out, clock.Options(Style::kBar, 71), {.total = 4});
  progress.Update({.total = 4});
  EXPECT_EQ(out.str(), "\r\x1b[K[" + std::string(40, '.') + "] 0/4 0.0%, 0 ok, 0 failed");
  out.str("");
  for (int i = 0; i < 10; ++i) {
    clock.time += 100ms;
    progress.Update({.total = 4, .ok = 1});
  }
  const std::string drawn = out.str();
  EXPECT_EQ(std::count(drawn.begin(), drawn.end(), '\r'), 5);
  out.str("");
  progress.Finish({.total = 4, .ok = 4});
  EXPECT_THAT(out.str(), ::testing::EndsWith("4/4 100.0%, 4.0/s, 4 ok, 0 failed\n"));
}

TEST(Progress, KeepsToTheWidthOfTheTerminal) {
  for (const int width : {1, 20, 40, 60, 300}) {
    Clock clock;
    std::ostringstream out;
    Progress progress(out, clock.Options(Style::kBar, width), {.total = 1000});
    clock.time += 1s;
    progress.Update({.total = 1000, .ok = 500});
    EXPECT_LT(out.str().size() - 4, static_cast<std::size_t>(width)) << width;
  }
}

TEST(Progress, MakesRoomForOtherText) {
  Clock clock;
  std::ostringstream out;
  Progress progress(out, clock.Options(Style::kBar), {.total = 2});
  progress.Update({.total = 2});
  out.str("");
  progress.Clear();
  EXPECT_EQ(out.str(), "\r\x1b[K");
  progress.Update({.total = 2});
  EXPECT_THAT(out.str(), ::testing::HasSubstr("0/2"));
}

TEST(Progress, SaysNothingWhenQuiet) {
  Clock clock;
  std::ostringstream out;
  Progress progress(out, clock.Options(Style::kQuiet), {.total = 2});
  clock.time += 1h;
  progress.Update({.total = 2, .ok = 1});
  progress.Clear();
  progress.Finish({.total = 2, .ok = 2});
  EXPECT_EQ(out.str(), "");
}

TEST(Progress, HasNothingToDivideWhenThereIsNothingToDo) {
  Clock clock;
  std::ostringstream out;
  Progress progress(out, clock.Options(Style::kLines), {});
  progress.Finish({});
  EXPECT_EQ(out.str(), "0/0 100.0%, 0 ok, 0 failed\n");
}

TEST(ProgressOptionsFor, ChoosesLinesWhereThereIsNoTerminal) {
  const int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  EXPECT_EQ(ProgressOptionsFor(fd).style, Style::kLines);
  close(fd);
}

}  // namespace
}  // namespace droidflow
