#include "droidflow/jobs/progress.h"

#include <algorithm>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBarInterval{200};
constexpr milliseconds kLineInterval{10'000};
constexpr std::size_t kMinBar = 10;  // columns; below, the bar is left out
constexpr std::size_t kMaxBar = 40;
constexpr std::string_view kClearLine = "\r\x1b[K";

double Share(const ProgressCounts& counts) {
  if (counts.total <= 0) return 1;
  const auto finished = static_cast<double>(counts.ok + counts.failed);
  return std::clamp(finished / static_cast<double>(counts.total), 0.0, 1.0);
}

}  // namespace

std::string FormatDuration(milliseconds duration) {
  using Days = std::chrono::duration<std::int64_t, std::ratio<86400>>;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  // 59.96 s would be printed as "60.0 s".
  if (duration < milliseconds(59'950)) {
    return fmt::format("{:.1f} s", static_cast<double>(duration.count()) / 1000);
  }
  if (duration < std::chrono::hours(1)) {
    const auto rounded = std::max<std::int64_t>(seconds, 60);
    return fmt::format("{} m {:02} s", rounded / 60, rounded % 60);
  }
  if (duration < Days(1)) return fmt::format("{} h {:02} m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{} d {:02} h", seconds / 86400, seconds / 3600 % 24);
}

std::string FormatBytes(double bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

ProgressOptions ProgressOptionsFor(int fd) {
  ProgressOptions options;
  if (isatty(fd) == 0) return options;
  options.style = ProgressOptions::Style::kBar;
  options.width = [fd] {
    winsize size = {};
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? int{size.ws_col} : 80;
  };
  return options;
}

Progress::Progress(std::ostream& out, ProgressOptions options, const ProgressCounts& at_start)
    : out_(out),
      options_(std::move(options)),
      at_start_(at_start),
      started_(options_.now()),
      next_drawing_(started_) {
  if (options_.style == ProgressOptions::Style::kLines) next_drawing_ += kLineInterval;
}

void Progress::Update(const ProgressCounts& counts) {
  const auto now = options_.now();
  if (options_.style == ProgressOptions::Style::kQuiet || now < next_drawing_) return;
  if (options_.style == ProgressOptions::Style::kBar) {
    out_ << kClearLine << DrawBar(counts);
    next_drawing_ = now + kBarInterval;
  } else {
    out_ << Describe(counts) << '\n';
    next_drawing_ = now + kLineInterval;
  }
  out_.flush();
}

void Progress::Finish(const ProgressCounts& counts) {
  if (options_.style == ProgressOptions::Style::kQuiet) return;
  next_drawing_ = options_.now();
  Update(counts);
  if (options_.style == ProgressOptions::Style::kBar) (out_ << '\n').flush();
}

void Progress::Clear() {
  if (options_.style != ProgressOptions::Style::kBar) return;
  (out_ << kClearLine).flush();
  next_drawing_ = options_.now();
}

std::string Progress::Describe(const ProgressCounts& counts) const {
  const std::int64_t finished = counts.ok + counts.failed;
  const std::int64_t finished_now = finished - at_start_.ok - at_start_.failed;
  const double elapsed_s = std::chrono::duration<double>(options_.now() - started_).count();
  std::string text = fmt::format("{}/{} {:.1f}%", finished, counts.total, 100 * Share(counts));
  if (finished_now > 0 && elapsed_s > 0) {
    const double rate_hz = static_cast<double>(finished_now) / elapsed_s;
    text += rate_hz >= 1 ? fmt::format(", {:.1f}/s", rate_hz)
                         : fmt::format(", {:.1f}/min", 60 * rate_hz);
    if (finished < counts.total) {
      const double left_s = static_cast<double>(counts.total - finished) / rate_hz;
      text += ", ETA " + FormatDuration(milliseconds(static_cast<std::int64_t>(1000 * left_s)));
    }
  }
  text += fmt::format(", {} ok, {} failed", counts.ok, counts.failed);
  return counts.more.empty() ? text : text + ", " + counts.more;
}

std::string Progress::DrawBar(const ProgressCounts& counts) const {
  const std::string text = Describe(counts);
  // The last column stays free: some terminals break the line when it is filled.
  const auto columns = static_cast<std::size_t>(std::max(options_.width() - 1, 0));
  if (columns < text.size() + kMinBar + 3) return text.substr(0, columns);
  const std::size_t bar = std::min(columns - text.size() - 3, kMaxBar);
  const auto filled = static_cast<std::size_t>(Share(counts) * static_cast<double>(bar));
  return fmt::format("[{}{}] {}", std::string(filled, '#'), std::string(bar - filled, '.'), text);
}

}  // namespace droidflow
