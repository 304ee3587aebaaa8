#pragma once

/// What the tests of recordings share.

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/mcap_reader.h"
#include "droidflow/formats/mcap_writer.h"
#include "droidflow/video/frame_source.h"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace droidflow {

/// A frame's pixels, kept: both eyes next to each other, rows behind each other.
struct KeptFrame {
  std::int64_t index = 0;
  std::optional<std::int64_t> time_ns;
  bool damaged = false;
  std::string pixels;

  bool operator==(const KeptFrame&) const = default;
};

inline KeptFrame Keep(const StereoFrame& frame) {
  KeptFrame kept{frame.index, frame.time_ns, frame.damaged, {}};
  const auto add = [&](const auto& view, int y) {
    if (y < view.height_px) {
      kept.pixels.append(reinterpret_cast<const char*>(view.row(y)),
                         view.width_px * sizeof(*view.row(y)));
    }
  };
  for (int y = 0; y < frame.left.height_px + frame.left_rgb.height_px; ++y) {
    add(frame.left, y);
    add(frame.right, y);
    add(frame.left_rgb, y);
    add(frame.right_rgb, y);
  }
  return kept;
}

inline std::vector<KeptFrame> KeepAll(FrameSource& source) {
  std::vector<KeptFrame> kept;
  StereoFrame frame;
  for (;;) {
    const auto more = source.Next(frame);
    EXPECT_THAT(more, IsOk());
    if (!more || !*more) return kept;
    kept.push_back(Keep(frame));
  }
}

inline std::vector<KeptFrame> KeepAll(const std::filesystem::path& path,
                                      const SourceOptions& options = {}) {
  const auto source = OpenFrameSource(path, options);
  EXPECT_THAT(source, IsOk());
  return source ? KeepAll(**source) : std::vector<KeptFrame>();
}

/// Of the pixels of each frame, by another implementation.
inline std::vector<std::string> Md5s(const std::vector<KeptFrame>& frames) {
  const TemporaryDirectory directory;
  std::ofstream file(directory / "frames", std::ios::binary);
  for (const KeptFrame& frame : frames) file << frame.pixels;
  file.close();
  const std::size_t size = frames.empty() ? 1 : frames.front().pixels.size();
  std::istringstream output(RunPython("import hashlib\ndata = open('" +
                                      (directory / "frames").string() +
                                      "', 'rb').read()\nn = " + std::to_string(size) + R"(
for i in range(0, len(data), n): print(hashlib.md5(data[i:i + n]).hexdigest())
)"));
  std::vector<std::string> md5s;
  for (std::string md5; output >> md5;) md5s.push_back(md5);
  return md5s;
}

/// The last column of a .framemd5 file.
inline std::vector<std::string> Md5sFromFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> md5s;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with('#')) md5s.push_back(line.substr(line.find_last_of(' ') + 1));
  }
  return md5s;
}

using ByteVector = std::vector<std::byte>;

/// Copies an SVO2 file; `change` may change a message's topic and bytes, or leave it out.
inline void RewriteSvo2(const std::filesystem::path& from,
                        const std::filesystem::path& to,
                        const std::function<bool(std::string& topic, ByteVector& data)>& change) {
  auto reader = McapReader::Open(from);
  auto writer = McapWriter::Open(to, {});
  ASSERT_THAT(reader, IsOk());
  ASSERT_THAT(writer, IsOk());
  std::map<std::string, std::uint16_t> channels;
  McapMessage message;
  for (;;) {
    const auto more = reader->Next(message);
    ASSERT_THAT(more, IsOk());
    if (!*more) break;
    std::string topic = message.channel.topic;
    ByteVector data(message.data.begin(), message.data.end());
    if (!change(topic, data)) continue;
    if (!channels.contains(topic)) {
      const auto channel = writer->AddChannel(topic, message.channel.message_encoding, 0);
      ASSERT_THAT(channel, IsOk());
      channels[topic] = *channel;
    }
    ASSERT_THAT(writer->Write(channels[topic], message.log_time_ns, data), IsOk());
  }
  ASSERT_THAT(writer->Close(), IsOk());
}

/// The access units of an SVO2 file's frames.
inline std::vector<ByteVector> AccessUnits(const std::filesystem::path& path) {
  std::vector<ByteVector> units;
  auto reader = McapReader::Open(path);
  EXPECT_THAT(reader, IsOk());
  reader->SelectTopics([](std::string_view topic) { return topic.ends_with("/side_by_side"); });
  McapMessage message;
  while (reader->Next(message).value_or(false)) {
    std::uint32_t size = 0;
    std::memcpy(&size, message.data.data() + 4, sizeof(size));
    units.emplace_back(message.data.begin() + 8, message.data.begin() + 8 + size);
  }
  return units;
}

}  // namespace droidflow
