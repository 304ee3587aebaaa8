// How fast do the messages of an uncompressed MCAP file come out of the page cache, next to reading
// the file with read()?

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/formats/mcap_reader.h"
#include "droidflow/formats/mcap_writer.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMessage_bytes = 100'000;
constexpr int kMessages = 5'000;
constexpr int kRounds = 7;

std::vector<std::byte> Message(int index) {
  std::vector<std::byte> message(kMessage_bytes);
  std::uint32_t state = 7U + static_cast<std::uint32_t>(index);
  for (std::byte& value : message) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<std::byte>(state >> 24);
  }
  return message;
}

void WriteRecording(const fs::path& path) {
  auto writer = McapWriter::Open(path, {});
  DF_CHECK(writer.has_value(), "{}", writer.error().message);
  const auto channel = writer->AddChannel("Camera_SN1/side_by_side", "zed_sdk_encoded", 0);
  DF_CHECK(channel.has_value(), "{}", channel.error().message);
  for (int i = 0; i < kMessages; ++i) {
    const Status written = writer->Write(*channel, static_cast<std::uint64_t>(i), Message(i));
    DF_CHECK(written.has_value(), "{}", written.error().message);
  }
  const Status closed = writer->Close();
  DF_CHECK(closed.has_value(), "{}", closed.error().message);
}

template <typename Work>
double Seconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Every message must come, and some are looked into.
void ReadMessages(const fs::path& path) {
  auto reader = McapReader::Open(path);
  DF_CHECK(reader.has_value(), "{}", reader.error().message);
  McapMessage message;
  int count = 0;
  for (;;) {
    const Result<bool> more = reader->Next(message);
    DF_CHECK(more.has_value(), "{}", more.error().message);
    if (!*more) break;
    if (count % 1000 == 0) {
      DF_CHECK(std::ranges::equal(message.data, Message(count)), "message {} differs", count);
    }
    ++count;
  }
  DF_CHECK(count == kMessages, "{} messages", count);
}

void ReadBytes(const fs::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<std::byte> block(256 << 10);
  while (read(fd.get(), block.data(), block.size()) > 0) {
  }
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void Run() {
  std::string folder = (fs::temp_directory_path() / "droidflow-bench-XXXXXX").string();
  DF_CHECK(mkdtemp(folder.data()) != nullptr, "cannot make {}", folder);
  const fs::path path = fs::path(folder) / "recording.mcap";
  WriteRecording(path);
  const double size_gb = static_cast<double>(fs::file_size(path)) / 1e9;
  std::vector<double> ours_s;
  std::vector<double> bytes_s;
  std::vector<double> ratios;
  for (int round = 0; round < kRounds; ++round) {
    ours_s.push_back(Seconds([&] { ReadMessages(path); }));
    bytes_s.push_back(Seconds([&] { ReadBytes(path); }));
    ratios.push_back(ours_s.back() / bytes_s.back());
  }
  fmt::print("messages {:.2f} GB/s, bytes alone {:.2f} GB/s, time ratio {:.2f}\n",
             size_gb / Median(ours_s),
             size_gb / Median(bytes_s),
             Median(ratios));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace droidflow

int main() { droidflow::Run(); }
