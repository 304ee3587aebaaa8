#pragma once

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/formats/mcap_writer.h"
#include "droidflow/video/video_writer.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace droidflow {

struct Svo2Options {
  VideoOptions video;  ///< of the pair, both eyes side by side; kH264 or kHevc
  std::string serial;
  McapCompression compression = McapCompression::kNone;
};

/// Writes an SVO2 recording as the specification describes it, for generated data: header, frames
/// and footer, without inertial sensors. In place, under its name, only after Close.
class Svo2Writer {
 public:
  [[nodiscard]] static Result<Svo2Writer> Open(const std::filesystem::path& path,
                                               const Svo2Options& options);
  Svo2Writer(Svo2Writer&&) noexcept;
  Svo2Writer& operator=(Svo2Writer&&) noexcept;
  ~Svo2Writer();

  [[nodiscard]] Status Write(RgbView pair, std::uint64_t time_ns);
  [[nodiscard]] Status Close();

 private:
  class Impl;
  explicit Svo2Writer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidflow
