#include "droidflow/formats/json_index.h"

#include "droidflow/core/check.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <memory>
#include <numeric>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <simdjson.h>

namespace droidflow {
namespace {

constexpr std::size_t kWindow_bytes = 4 << 20;
constexpr std::size_t kMaxEntry_bytes = 64 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

constexpr bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

constexpr auto kEndsScalar = [] {
  std::array<bool, 256> table{};
  for (const char c : {' ', '\n', '\t', '\r', ',', ':', '}', ']', '{', '[', '"'}) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

constexpr bool CanStartValue(char c) {
  return c == '{' || c == '[' || c == '"' || !kEndsScalar[static_cast<unsigned char>(c)];
}

constexpr auto kIsBracketOrQuote = [] {
  std::array<bool, 256> table{};
  for (const char c : {'}', ']', '{', '[', '"'}) table[static_cast<unsigned char>(c)] = true;
  return table;
}();

/// One past the closing quote of the string that starts at `at`, nullopt when it does not end in
/// `text`.
std::optional<std::size_t> EndOfString(std::string_view text, std::size_t at) {
  for (++at;; ++at) {
    const void* const quote =
        at < text.size() ? std::memchr(text.data() + at, '"', text.size() - at) : nullptr;
    if (quote == nullptr) return std::nullopt;
    const std::size_t begin = at;
    at = static_cast<std::size_t>(static_cast<const char*>(quote) - text.data());
    std::size_t backslashes = 0;
    while (backslashes < at - begin && text[at - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return at + 1;
  }
}

/// One past the value that `text` starts with, nullopt when it does not end in `text`. Finds the
/// end of what may be JSON, and leaves it to the parser whether it is.
std::optional<std::size_t> EndOfValue(std::string_view text) {
  if (text[0] == '"') return EndOfString(text, 0);
  if (text[0] != '{' && text[0] != '[') {
    std::size_t end = 0;
    while (end < text.size() && !kEndsScalar[static_cast<unsigned char>(text[end])]) ++end;
    return end < text.size() ? std::optional(end) : std::nullopt;
  }
  std::size_t depth = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (!kIsBracketOrQuote[static_cast<unsigned char>(c)]) {
      ++at;
    } else if (c == '"') {
      const std::optional<std::size_t> end = EndOfString(text, at);
      if (!end) return std::nullopt;
      at = *end;
    } else {
      ++at;
      if (c == '{' || c == '[') {
        ++depth;
      } else if (--depth == 0) {
        return at;
      }
    }
  }
  return std::nullopt;
}

Result<std::size_t> ReadAt(
    int fd, std::uint64_t offset, char* bytes, std::size_t size, const std::string& path) {
  while (true) {
    const ssize_t got = pread(fd, bytes, size, static_cast<off_t>(offset));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return FailErrno(errno, "cannot read " + path);
  }
}

Result<FileStamp> StampOf(int fd, const std::string& path) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return FailErrno(errno, "cannot stat " + path);
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidData, "want a JSON file, this is no regular file: {}", path);
  }
  return FileStamp{
      .name = path,
      .size_bytes = static_cast<std::uint64_t>(info.st_size),
      .mtime_ns = info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec};
}

/// Walks over the text of a JSON object with a window of bounded size.
class Scanner {
 public:
  Scanner(int fd, const std::string& path) : fd_(fd), path_(path) { Resize(kWindow_bytes); }

  Status Run(const JsonEntryCallback& on_entry) {
    DF_RETURN_IF_ERROR(Fill());
    if (Rest().starts_with(kByteOrderMark)) begin_ += kByteOrderMark.size();
    DF_RETURN_IF_ERROR(Take('{', "an object at the top"));
    DF_ASSIGN_OR_RETURN(std::optional<char> next, Peek());
    while (next != '}') {
      if (next != '"') return Unexpected("a key in quotes");
      DF_ASSIGN_OR_RETURN(const std::string_view key_text, TakeValue("the key"));
      DF_ASSIGN_OR_RETURN(const simdjson::dom::element key, Parse(key_text, "the key"));
      // The window moves on under the parser's feet, its own copy of the key is overwritten.
      const std::string decoded(key.get_string().value_unsafe());
      DF_RETURN_IF_ERROR(Take(':', "':' behind a key"));
      DF_ASSIGN_OR_RETURN(next, Peek());
      if (!next || !CanStartValue(*next)) {
        return Unexpected("a value");
      }
      const std::uint64_t offset = Position();
      const std::string what = "the value of \"" + decoded.substr(0, 80) + '"';
      DF_ASSIGN_OR_RETURN(const std::string_view value, TakeValue(what));
      DF_RETURN_IF_ERROR(Parse(value, what));
      DF_RETURN_IF_ERROR(on_entry({decoded, value, static_cast<std::int64_t>(offset)}));
      DF_ASSIGN_OR_RETURN(next, Peek());
      if (next == '}') break;
      DF_RETURN_IF_ERROR(Take(',', "',' or '}' behind a value"));
      DF_ASSIGN_OR_RETURN(next, Peek());
      if (next == '}') return Unexpected("a key behind ','");
    }
    DF_RETURN_IF_ERROR(Take('}', "'}'"));
    DF_ASSIGN_OR_RETURN(next, Peek());
    if (next) return Unexpected("nothing behind the object");
    return {};
  }

 private:
  [[nodiscard]] std::string_view Rest() const { return {buffer_.get() + begin_, end_ - begin_}; }
  [[nodiscard]] std::uint64_t Position() const { return buffer_offset_ + begin_; }

  void Resize(std::size_t capacity) {
    // The parser reads, and ignores, a little more than it is given.
    auto larger = std::make_unique_for_overwrite<char[]>(capacity + simdjson::SIMDJSON_PADDING);
    if (end_ > begin_) std::memcpy(larger.get(), buffer_.get() + begin_, end_ - begin_);
    buffer_offset_ += begin_;
    end_ -= begin_;
    begin_ = 0;
    buffer_ = std::move(larger);
    capacity_ = capacity;
  }

  /// Reads more behind what is left. @return false at the end of the file.
  Result<bool> Fill() {
    if (begin_ > 0) {
      std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
      buffer_offset_ += begin_;
      end_ -= begin_;
      begin_ = 0;
    }
    if (end_ == capacity_) Resize(capacity_ * 2);
    DF_ASSIGN_OR_RETURN(
        const std::size_t got,
        ReadAt(fd_, buffer_offset_ + end_, buffer_.get() + end_, capacity_ - end_, path_));
    end_ += got;
    return got > 0;
  }

  /// The next character that is not space, nullopt at the end of the file.
  Result<std::optional<char>> Peek() {
    while (true) {
      while (begin_ < end_ && IsSpace(buffer_[begin_])) ++begin_;
      if (begin_ < end_) return buffer_[begin_];
      DF_ASSIGN_OR_RETURN(const bool has_more, Fill());
      if (!has_more) return std::nullopt;
    }
  }

  Status Take(char wanted, std::string_view what) {
    DF_ASSIGN_OR_RETURN(const std::optional<char> next, Peek());
    if (next != wanted) return Unexpected(what);
    ++begin_;
    return {};
  }

  /// The text of the value that starts here. Valid until the window moves: with the next Take or
  /// Peek.
  Result<std::string_view> TakeValue(std::string_view what) {
    while (true) {
      if (const std::optional<std::size_t> end = EndOfValue(Rest())) {
        const std::string_view value = Rest().substr(0, *end);
        begin_ += *end;
        return value;
      }
      if (Rest().size() >= kMaxEntry_bytes) {
        return Bad(Position(), fmt::format("{} is longer than {} bytes", what, kMaxEntry_bytes));
      }
      DF_ASSIGN_OR_RETURN(const bool has_more, Fill());
      if (!has_more)
        return Bad(buffer_offset_ + end_, fmt::format("the file ends inside {}", what));
    }
  }

  /// @param text  lies in the window.
  Result<simdjson::dom::element> Parse(std::string_view text, std::string_view what) {
    simdjson::dom::element element;
    const auto error =
        parser_.parse(text.data(), text.size(), /*realloc_if_needed=*/false).get(element);
    if (error != simdjson::SUCCESS) {
      const auto in_buffer = static_cast<std::uint64_t>(text.data() - buffer_.get());
      return Bad(
          buffer_offset_ + in_buffer,
          fmt::format("{} starts here and is not JSON ({})", what, simdjson::error_message(error)));
    }
    return element;
  }

  tl::unexpected<Error> Unexpected(std::string_view wanted) {
    const std::string found =
        begin_ < end_ ? fmt::format("found '{}'", Rest().substr(0, 1)) : "the file ends";
    return Bad(Position(), fmt::format("want {}, {}", wanted, found));
  }

  /// Counts lines only now: they are of no use to a file that is right.
  tl::unexpected<Error> Bad(std::uint64_t offset, std::string_view problem) {
    std::uint64_t line = 1;
    std::vector<char> chunk(1 << 16);
    for (std::uint64_t at = 0; at < offset;) {
      const Result<std::size_t> got =
          ReadAt(fd_, at, chunk.data(), std::min<std::uint64_t>(chunk.size(), offset - at), path_);
      if (!got || *got == 0) break;
      line += static_cast<std::uint64_t>(
          std::count(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(*got), '\n'));
      at += *got;
    }
    return Fail(ErrorKind::kInvalidData, "line {}, byte {}: {}: {}", line, offset, problem, path_);
  }

  int fd_;
  const std::string& path_;
  simdjson::dom::parser parser_;

  // Bytes [begin_, end_) of the buffer are still to be read; its first byte is buffer_offset_ of
  // the file.
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t buffer_offset_ = 0;
};

}  // namespace

/// An index in memory, before it is looked at only.
struct JsonIndex::Table {
  std::string keys;
  std::vector<Entry> entries;
  std::vector<std::uint32_t> by_key;
  std::size_t num_duplicates = 0;

  [[nodiscard]] std::string_view KeyOf(const Entry& entry) const {
    return std::string_view(keys).substr(entry.key_offset, entry.key_bytes);
  }
  void SortAndMergeDuplicates();
};

/// How a saved index begins; entries, positions by key, and keys follow.
struct JsonIndex::FileHead {
  std::array<char, 8> magic = {'D', 'F', 'J', 'I', 'D', 'X', '0', '1'};
  std::uint64_t size_bytes = 0;  ///< of the JSON file
  std::int64_t mtime_ns = 0;
  std::uint64_t num_entries = 0;
  std::uint64_t num_duplicates = 0;
  std::uint64_t key_bytes = 0;
};

Result<JsonIndex> JsonIndex::Build(const std::filesystem::path& path,
                                   const JsonEntryCallback& callback) {
  JsonIndex index;
  index.fd_ = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!index.fd_.valid()) return FailErrno(errno, "cannot open " + path.native());
  DF_ASSIGN_OR_RETURN(index.stamp_, StampOf(index.fd_.get(), path.native()));
  posix_fadvise(index.fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);

  const auto table = std::make_shared<Table>();
  const auto add = [&](const JsonEntry& entry) -> Status {
    table->entries.push_back({.key_offset = table->keys.size(),
                              .offset_bytes = static_cast<std::uint64_t>(entry.offset_bytes),
                              .key_bytes = static_cast<std::uint32_t>(entry.key.size()),
                              .value_bytes = static_cast<std::uint32_t>(entry.value.size())});
    table->keys += entry.key;
    if (callback) return callback(entry);
    return {};
  };
  DF_RETURN_IF_ERROR(Scanner(index.fd_.get(), index.stamp_.name).Run(add));
  DF_RETURN_IF_ERROR(index.CheckUnchanged());
  table->SortAndMergeDuplicates();
  index.keys_ = table->keys;
  index.entries_ = table->entries;
  index.by_key_ = table->by_key;
  index.num_duplicates_ = table->num_duplicates;
  index.held_ = table;
  return index;
}

Status JsonIndex::Save(const std::filesystem::path& index_path) const {
  const FileHead head{.size_bytes = stamp_.size_bytes,
                      .mtime_ns = stamp_.mtime_ns,
                      .num_entries = entries_.size(),
                      .num_duplicates = num_duplicates_,
                      .key_bytes = keys_.size()};
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(index_path));
  DF_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(&head, 1))));
  DF_RETURN_IF_ERROR(file.Write(std::as_bytes(entries_)));
  DF_RETURN_IF_ERROR(file.Write(std::as_bytes(by_key_)));
  DF_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(keys_))));
  return file.Commit();
}

Result<JsonIndex> JsonIndex::Map(const std::filesystem::path& path,
                                 const std::filesystem::path& index_path) {
  JsonIndex index;
  index.fd_ = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!index.fd_.valid()) return FailErrno(errno, "cannot open " + path.native());
  const UniqueFd fd(open(index_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + index_path.native());
  DF_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(fd.get(), index_path.native()));
  const std::size_t size = stamp.size_bytes;
  FileHead head;
  if (size >= sizeof(head)) {
    void* const mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (mapped == MAP_FAILED) return FailErrno(errno, "cannot map " + index_path.native());
    index.held_ = std::shared_ptr<const void>(mapped, [size](void* at) { (void)munmap(at, size); });
    std::memcpy(&head, mapped, sizeof(head));
  }
  const std::uint64_t entry_bytes = sizeof(Entry) + sizeof(std::uint32_t);
  const std::uint64_t rest = index.held_ == nullptr ? 0 : size - sizeof(head);
  if (index.held_ == nullptr || head.magic != FileHead().magic ||
      head.num_entries > rest / entry_bytes || head.key_bytes > rest ||
      head.num_entries * entry_bytes + head.key_bytes != rest) {
    return Fail(ErrorKind::kInvalidData,
                "want an index of a JSON file, whole, have {} bytes of something else: {}",
                size,
                index_path.string());
  }
  const auto* const begin = static_cast<const char*>(index.held_.get()) + sizeof(head);
  // Save wrote these very types, and a mapping starts at a page.
  index.entries_ = {reinterpret_cast<const Entry*>(begin), head.num_entries};
  const char* const by_key = begin + index.entries_.size_bytes();
  index.by_key_ = {reinterpret_cast<const std::uint32_t*>(by_key), head.num_entries};
  index.keys_ = {by_key + index.by_key_.size_bytes(), head.key_bytes};
  index.num_duplicates_ = head.num_duplicates;
  index.stamp_ = {.name = path.native(), .size_bytes = head.size_bytes, .mtime_ns = head.mtime_ns};
  DF_RETURN_IF_ERROR(index.CheckUnchanged());
  return index;
}

std::string_view JsonIndex::KeyOf(const Entry& entry) const {
  return keys_.substr(entry.key_offset, entry.key_bytes);
}

void JsonIndex::Table::SortAndMergeDuplicates() {
  DF_CHECK(entries.size() <= std::numeric_limits<std::uint32_t>::max());
  const auto sort_positions = [this] {
    by_key.resize(entries.size());
    std::iota(by_key.begin(), by_key.end(), 0U);
    std::stable_sort(by_key.begin(), by_key.end(), [this](std::uint32_t a, std::uint32_t b) {
      return KeyOf(entries[a]) < KeyOf(entries[b]);
    });
  };
  sort_positions();
  std::vector<bool> is_replaced(entries.size(), false);
  for (std::size_t first = 0, i = 1; i < by_key.size(); ++i) {
    if (KeyOf(entries[by_key[i]]) != KeyOf(entries[by_key[first]])) {
      first = i;
      continue;
    }
    entries[by_key[first]].offset_bytes = entries[by_key[i]].offset_bytes;
    entries[by_key[first]].value_bytes = entries[by_key[i]].value_bytes;
    is_replaced[by_key[i]] = true;
    ++num_duplicates;
  }
  if (num_duplicates > 0) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (!is_replaced[i]) entries[kept++] = entries[i];
    }
    entries.resize(kept);
    sort_positions();
  }
  entries.shrink_to_fit();
  by_key.shrink_to_fit();
  keys.shrink_to_fit();
}

std::string_view JsonIndex::Key(std::size_t position) const {
  DF_CHECK(position < entries_.size(), "key {} of {}", position, entries_.size());
  return KeyOf(entries_[position]);
}

std::optional<std::size_t> JsonIndex::Find(std::string_view key) const {
  const auto found = std::ranges::lower_bound(
      by_key_, key, {}, [this](std::uint32_t position) { return KeyOf(entries_[position]); });
  if (found == by_key_.end() || KeyOf(entries_[*found]) != key) return std::nullopt;
  return *found;
}

Status JsonIndex::CheckUnchanged() const {
  DF_ASSIGN_OR_RETURN(const FileStamp now, StampOf(fd_.get(), stamp_.name));
  if (now == stamp_) return {};
  return Fail(ErrorKind::kInternal,
              "changed since it was indexed ({} bytes then, {} now): {}",
              stamp_.size_bytes,
              now.size_bytes,
              stamp_.name);
}

Result<std::optional<std::string>> JsonIndex::ReadEntry(std::string_view key) const {
  const std::optional<std::size_t> position = Find(key);
  if (!position) return std::nullopt;
  DF_RETURN_IF_ERROR(CheckUnchanged());
  const Entry& entry = entries_[*position];
  std::string text(entry.value_bytes, '\0');
  for (std::size_t done = 0; done < text.size();) {
    DF_ASSIGN_OR_RETURN(const std::size_t got,
                        ReadAt(fd_.get(),
                               entry.offset_bytes + done,
                               text.data() + done,
                               text.size() - done,
                               stamp_.name));
    if (got == 0) {
      return Fail(ErrorKind::kInternal,
                  "byte {}: ends inside an entry: {}",
                  entry.offset_bytes + done,
                  stamp_.name);
    }
    done += got;
  }
  return text;
}

}  // namespace droidflow
