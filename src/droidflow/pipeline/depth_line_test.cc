#include "droidflow/core/result_matchers.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/depth_line_internal.h"

#include <atomic>
#include <csignal>
#include <latch>
#include <new>
#include <semaphore>
#include <stdexcept>
#include <unistd.h>

namespace droidflow {
namespace {

using ::testing::HasSubstr;
using Step = DepthLine::Step;

/// Frames 0 … frames - 1, whose left picture is one pixel of their number.
class Reader {
 public:
  explicit Reader(std::int64_t frames) : frames_(frames) {}
  Result<Step> operator()(DepthSlot& slot) {
    if (next_ == frames_) return Step::kEnd;
    slot.frame = {.index = next_};
    slot.left.Resize(1, 1);
    slot.left.at(0, 0) = static_cast<std::uint8_t>(next_++);
    return Step::kFrame;
  }

 private:
  std::int64_t frames_;
  std::int64_t next_ = 0;
};

/// Depth is ten times the pixel.
Status TenTimes(std::size_t, DepthSlot& slot) {
  slot.depth_mm.Resize(1, 1);
  slot.depth_mm.at(0, 0) = static_cast<std::uint16_t>(10 * slot.left.at(0, 0));
  return {};
}

/// Checks the frames from `first` on. @return what Next said after the last of them.
Result<bool> Drain(DepthLine& line, std::int64_t first, std::int64_t& told) {
  DepthFrame frame;
  Result<bool> more = false;
  for (told = first; (more = line.Next(frame)) && *more; ++told) {
    EXPECT_EQ(frame.index, told);
    EXPECT_EQ(frame.depth_mm.at(0, 0), 10 * told);
  }
  EXPECT_EQ(line.Next(frame), more) << "it says so again";
  return more;
}

TEST(DepthLine, TellsEveryFrameInOrder) {
  for (const std::int64_t frames : {0, 1, 2, 25}) {
    for (const std::size_t workers : {1U, 2U, 5U}) {
      DepthCounters counters;
      std::vector<std::atomic<int>> at_work(workers);
      DepthLine line(
          Reader(frames),
          [&](std::size_t worker, DepthSlot& slot) {
            EXPECT_EQ(++at_work[worker], 1) << "one at a time";
            const Status status = TenTimes(worker, slot);
            --at_work[worker];
            return status;
          },
          workers,
          counters);
      std::int64_t told = 0;
      EXPECT_EQ(Drain(line, 0, told), Result<bool>(false));
      EXPECT_EQ(told, frames);
      EXPECT_GT(counters.decode_ns, 0);
      EXPECT_EQ(counters.match_ns > 0, frames > 0);
    }
  }
}

TEST(DepthLine, KeepsTheOrderWhereALaterFrameIsDoneFirst) {
  std::latch is_second_done(1);
  DepthCounters counters;
  DepthLine line(
      Reader(6),
      [&](std::size_t worker, DepthSlot& slot) {
        if (slot.frame.index == 0) is_second_done.wait();
        if (slot.frame.index == 1) is_second_done.count_down();
        return TenTimes(worker, slot);
      },
      2,
      counters);
  std::int64_t told = 0;
  EXPECT_EQ(Drain(line, 0, told), Result<bool>(false));
  EXPECT_EQ(told, 6);
}

TEST(DepthLine, ReadsAndWorksWhileTheCallerHoldsAFrameButNotForEver) {
  constexpr std::int64_t kPlaces = 2 * 1 + 2;
  std::counting_semaphore<> worked(0);
  std::atomic<std::int64_t> told = 0;
  Reader reader(20);
  DepthCounters counters;
  DepthLine line(
      [&](DepthSlot& slot) {
        const Result<Step> step = reader(slot);
        // The caller is told one before it can say so.
        EXPECT_LE(slot.frame.index, told + kPlaces);
        return step;
      },
      [&](std::size_t worker, DepthSlot& slot) {
        const Status status = TenTimes(worker, slot);
        worked.release();
        return status;
      },
      1,
      counters);
  DepthFrame frame;
  for (; told < 20; ++told) {
    ASSERT_EQ(line.Next(frame), Result<bool>(true));
    // This one at first, then with the caller idle as many as there is room for.
    if (told == 0) {
      for (std::int64_t i = 0; i < 1 + kPlaces; ++i) worked.acquire();
    }
    EXPECT_EQ(frame.depth_mm.at(0, 0), 10 * told) << "it stays as it is";
  }
  EXPECT_EQ(line.Next(frame), Result<bool>(false));
}

TEST(DepthLine, TellsWithoutWorkersWhatWasRead) {
  Reader reader(9);
  DepthCounters counters;
  DepthLine line(
      [&](DepthSlot& slot) {
        Result<Step> step = reader(slot);
        if (step != Step::kEnd) step = TenTimes(0, slot).map([] { return Step::kFrame; });
        return step;
      },
      nullptr,
      0,
      counters);
  std::int64_t told = 0;
  EXPECT_EQ(Drain(line, 0, told), Result<bool>(false));
  EXPECT_EQ(told, 9);
  EXPECT_EQ(counters.match_ns, 0);
}

TEST(DepthLine, LeavesOutWhatIsSkipped) {
  Reader reader(10);
  DepthCounters counters;
  DepthLine line(
      [&](DepthSlot& slot) {
        Result<Step> step = reader(slot);
        if (step == Step::kFrame && slot.frame.index % 3 != 0) step = Step::kSkipped;
        return step;
      },
      TenTimes,
      1,
      counters);
  DepthFrame frame;
  for (const std::int64_t wanted : {0, 3, 6, 9}) {
    ASSERT_EQ(line.Next(frame), Result<bool>(true));
    EXPECT_EQ(frame.index, wanted);
    EXPECT_EQ(frame.depth_mm.at(0, 0), 10 * wanted);
  }
  EXPECT_EQ(line.Next(frame), Result<bool>(false));
}

TEST(DepthLine, FailsInThePlaceOfTheFrame) {
  for (const std::size_t workers : {1U, 4U}) {
    DepthCounters counters;
    Reader reader(100);
    DepthLine bad_file(
        [&](DepthSlot& slot) -> Result<Step> {
          DF_ASSIGN_OR_RETURN(const Step step, reader(slot));
          if (slot.frame.index == 7) return Fail(ErrorKind::kInvalidData, "bad picture");
          return step;
        },
        TenTimes,
        workers,
        counters);
    std::int64_t told = 0;
    EXPECT_THAT(Drain(bad_file, 0, told), FailsWith(ErrorKind::kInvalidData, "bad picture"));
    EXPECT_EQ(told, 7);
    DepthLine bad_gpu(
        Reader(100),
        [&](std::size_t worker, DepthSlot& slot) -> Status {
          if (slot.frame.index >= 5) {
            return Fail(ErrorKind::kInternal, "lost the GPU at {}", slot.frame.index);
          }
          return TenTimes(worker, slot);
        },
        workers,
        counters);
    EXPECT_THAT(Drain(bad_gpu, 0, told), FailsWith(ErrorKind::kInternal, "lost the GPU at 5"));
    EXPECT_EQ(told, 5);
  }
}

TEST(DepthLine, TurnsExceptionsIntoErrors) {
  DepthCounters counters;
  DepthLine reading(
      [](DepthSlot&) -> Result<Step> { throw std::bad_alloc(); }, TenTimes, 1, counters);
  std::int64_t told = 0;
  EXPECT_THAT(Drain(reading, 0, told), FailsWith(ErrorKind::kTransient, HasSubstr("memory")));
  DepthLine working(
      Reader(3),
      [](std::size_t worker, DepthSlot& slot) -> Status {
        if (slot.frame.index == 2) throw std::runtime_error("no way");
        return TenTimes(worker, slot);
      },
      1,
      counters);
  EXPECT_THAT(Drain(working, 0, told), FailsWith(ErrorKind::kInternal, HasSubstr("no way")));
  EXPECT_EQ(told, 2);
}

TEST(DepthLine, MayBeLeftAtAnyTime) {
  for (const int taken : {0, 1, 5}) {
    std::counting_semaphore<> worked(0);
    DepthCounters counters;
    DepthLine line(
        Reader(200),
        [&](std::size_t worker, DepthSlot& slot) {
          const Status status = TenTimes(worker, slot);
          worked.release();
          return status;
        },
        3,
        counters);
    DepthFrame frame;
    for (int i = 0; i < taken; ++i) {
      EXPECT_EQ(line.Next(frame), Result<bool>(true));
      worked.acquire();
    }
  }
}

TEST(DepthLineDeathTest, StopsReadingAtASignal) {
  const auto stop = [] {
    InstallStopHandlers();
    DepthCounters counters;
    DepthLine line(
        [](DepthSlot&) -> Result<Step> {
          std::raise(SIGTERM);
          return Step::kSkipped;
        },
        TenTimes,
        1,
        counters);
    DepthFrame frame;
    const Result<bool> more = line.Next(frame);
    _exit(!more && more.error().kind == ErrorKind::kCancelled ? 0 : 1);
  };
  EXPECT_EXIT(stop(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace droidflow
