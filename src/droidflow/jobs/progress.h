#pragma once

/// How far a run is, for people.

#include <chrono>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

namespace droidflow {

/// "0.4 s", "12.3 s", "2 m 05 s", "1 h 02 m", "3 d 04 h".
[[nodiscard]] std::string FormatDuration(std::chrono::milliseconds duration);

/// "1.3 GB", "640 B": powers of 1000.
[[nodiscard]] std::string FormatBytes(double bytes);

struct ProgressCounts {
  std::int64_t total = 0;   ///< tasks of the run, done earlier or not
  std::int64_t ok = 0;      ///< done or skipped
  std::int64_t failed = 0;  ///< quarantined
  std::string more = {};    ///< text that follows; empty: none
};

struct ProgressOptions {
  enum class Style {
    kQuiet,  ///< nothing
    kLines,  ///< a line every ten seconds, for logs
    kBar,    ///< one line, drawn again and again, for terminals
  };
  Style style = Style::kLines;
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  /// Columns of the terminal; asked before each drawing.
  std::function<int()> width = [] { return 80; };
};

/// The style and the width for a file descriptor: a bar where it is a terminal.
[[nodiscard]] ProgressOptions ProgressOptionsFor(int fd);

/// Tells how far a run is: counts, share, rate, time left. The rate is of this run: what was done
/// before does not count.
///
/// Thread  one.
class Progress {
 public:
  /// @param at_start  what earlier runs have done.
  Progress(std::ostream& out, ProgressOptions options, const ProgressCounts& at_start);

  /// Call as often as you like: it draws at most five times a second (bar) or every ten seconds.
  void Update(const ProgressCounts& counts);

  /// Draws the last state, whenever the last drawing was, and ends the line.
  void Finish(const ProgressCounts& counts);

  /// Removes the bar, so that another text can be printed; the next Update draws it again.
  void Clear();

 private:
  [[nodiscard]] std::string Describe(const ProgressCounts& counts) const;
  [[nodiscard]] std::string DrawBar(const ProgressCounts& counts) const;

  std::ostream& out_;
  ProgressOptions options_;
  ProgressCounts at_start_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point next_drawing_;
};

}  // namespace droidflow
