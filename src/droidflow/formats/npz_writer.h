#pragma once

/// Writes .npz archives: arrays by name, as numpy.load reads them without pickle.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/formats/npy.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

struct libdeflate_compressor;

namespace droidflow {

/// How the arrays of an archive are stored.
enum class NpzCompression {
  kNone,
  kZip,  ///< deflated one by one where that makes them smaller; numpy.load reads them
};
[[nodiscard]] std::string_view ToString(NpzCompression compression);
[[nodiscard]] std::optional<NpzCompression> NpzCompressionFromString(std::string_view text);

/// A stream of arrays into one .npz file.
///
/// The same calls give the same bytes on every machine (deflated ones: with the same version of
/// libdeflate): members are dated 1980-01-01, each with its CRC-32; stored array data starts at a
/// multiple of 64 bytes in the file; ZIP64 records stand where they are needed and nowhere else.
/// The file is written in place: whoever needs it to appear whole writes it in a folder of its own
/// and moves that. After a failure the writer can only be destroyed, and without Finish() the file
/// is not an archive.
///
/// Memory  one buffer of about 256 KiB, whatever the size of the arrays; kZip: twice an array, too.
/// Thread  one thread at a time.
///
///     DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(path));
///     DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_frames", T));
///     DF_RETURN_IF_ERROR(npz.BeginArray<float>("tracks_3d", {T, N, 3}));
///     for (...) DF_RETURN_IF_ERROR(npz.Append<float>(frame));
///     DF_RETURN_IF_ERROR(npz.Finish());
class NpzWriter {
 public:
  /// Where plain ZIP records end and ZIP64 begins. Only tests have a reason to lower it.
  struct Limits {
    std::uint64_t max_plain_bytes = 0xFFFFFFFE;  ///< of a member, and offset in the file
    std::size_t max_plain_members = 0xFFFE;
  };

  /// The most bytes that one Reserve() may ask for.
  static constexpr std::size_t kMaxReserve_bytes = 256 << 10;

  /// Makes the file, or empties it.
  [[nodiscard]] static Result<NpzWriter> Create(const std::filesystem::path& path,
                                                NpzCompression compression,
                                                Limits limits);
  [[nodiscard]] static Result<NpzWriter> Create(const std::filesystem::path& path, Limits limits) {
    return Create(path, NpzCompression::kNone, limits);
  }
  [[nodiscard]] static Result<NpzWriter> Create(
      const std::filesystem::path& path, NpzCompression compression = NpzCompression::kNone) {
    return Create(path, compression, Limits{});
  }
  /// Into an open file that is empty. @param name  what messages call it.
  [[nodiscard]] static NpzWriter Create(UniqueFd fd, std::string name, NpzCompression compression) {
    return {std::move(fd), std::move(name), compression, Limits{}};
  }

  /// Starts an array, after which exactly as many values must come as `shape` promises.
  template <NpyElement T>
  [[nodiscard]] Status BeginArray(std::string_view name, const NpyShape& shape) {
    DF_RETURN_IF_ERROR(BeginMember(name, ToString(DTypeOf<T>::value), sizeof(T), shape));
    dtype_ = DTypeOf<T>::value;
    return {};
  }

  /// Adds values to the array begun last. Long spans are written straight from the caller's memory.
  template <NpyElement T>
  [[nodiscard]] Status Append(std::span<const T> values) {
    CheckOpen(DTypeOf<T>::value);
    return AppendData(std::as_bytes(values));
  }

  /// Room for the next `count` values, to be computed in place: for code that makes values faster
  /// than they can be copied. Uninitialised; valid until the next call, which is Commit().
  ///
  /// Shape  count * sizeof(T) is at most kMaxReserve_bytes.
  template <NpyElement T>
  [[nodiscard]] Result<std::span<T>> Reserve(std::size_t count) {
    CheckOpen(DTypeOf<T>::value);
    DF_ASSIGN_OR_RETURN(std::byte* const room, ReserveData(count * sizeof(T)));
    return std::span<T>(reinterpret_cast<T*>(room), count);
  }

  /// Takes the first `count` values of the room reserved last into the array.
  template <NpyElement T>
  void Commit(std::size_t count) {
    CheckOpen(DTypeOf<T>::value);
    CommitData(count * sizeof(T));
  }

  /// A whole array in one call.
  template <NpyElement T>
  [[nodiscard]] Status AddArray(std::string_view name,
                                const NpyShape& shape,
                                std::span<const T> values) {
    DF_RETURN_IF_ERROR(BeginArray<T>(name, shape));
    return Append<T>(values);
  }

  /// An array without axes.
  template <NpyElement T>
  [[nodiscard]] Status AddScalar(std::string_view name, T value) {
    return AddArray<T>(name, {}, std::span<const T>(&value, 1));
  }

  /// Texts as <U array with one axis. @return kInvalidData when one is not UTF-8.
  [[nodiscard]] Status AddStrings(std::string_view name, std::span<const std::string> texts);
  /// A text as <U array without axes.
  [[nodiscard]] Status AddString(std::string_view name, std::string_view text);

  /// A member as another archive holds it: NpzReader::Content's.
  [[nodiscard]] Status AddContent(std::string_view name, std::span<const std::byte> content);

  /// Writes the directory and closes the file. Nothing may follow.
  [[nodiscard]] Status Finish();

 private:
  struct Member {
    std::string file_name;
    std::uint64_t offset = 0;
    std::uint64_t size_bytes = 0;
    std::uint64_t stored_bytes = 0;  ///< in the file
    std::uint32_t crc32 = 0;
    std::uint16_t method = 0;
  };
  struct FreeBuffer {
    void operator()(std::byte* buffer) const;
  };
  struct FreeCompressor {
    void operator()(libdeflate_compressor* compressor) const;
  };

  NpzWriter(UniqueFd fd, std::string path, NpzCompression compression, Limits limits);

  Status BeginMember(std::string_view name,
                     std::string_view descr,
                     std::size_t item_bytes,
                     const NpyShape& shape);
  Status BeginContent(std::string_view name, std::uint64_t size);
  Status PutHeader(Member& member);
  Status EndMember();
  Status EndDeflated();
  Status AddTexts(std::string_view name,
                  std::span<const std::string_view> texts,
                  const NpyShape& shape);
  void CheckOpen(DType dtype) const;
  Status AppendData(std::span<const std::byte> data);
  Result<std::byte*> ReserveData(std::size_t size);
  void CommitData(std::size_t size);

  [[nodiscard]] std::uint64_t Position() const { return flushed_ + (end_ - begin_); }
  Status EnsureRoom(std::size_t size);
  Status Put(std::span<const std::byte> bytes);
  Status Put(std::string_view bytes);
  void UpdateCrc();
  Status Flush();

  UniqueFd fd_;
  std::string path_;
  Limits limits_;
  std::vector<Member> members_;
  std::unordered_set<std::string> names_;

  // Bytes [begin_, end_) of the buffer go to offset flushed_ of the file. begin_ follows flushed_
  // modulo 64, so that data is aligned in the buffer where it is aligned in the file.
  std::unique_ptr<std::byte, FreeBuffer> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t flushed_ = 0;

  // The open member: how much of it is to come, and the CRC up to buffer position crc_end_.
  bool is_open_ = false;
  DType dtype_ = DType::kF4;
  std::uint64_t missing_bytes_ = 0;
  std::uint32_t crc32_ = 0;
  std::size_t crc_end_ = 0;

  // With kZip an open member is collected here, in place of in the file.
  std::unique_ptr<libdeflate_compressor, FreeCompressor> compressor_;  ///< null: kNone
  std::vector<std::byte> collected_;
};

}  // namespace droidflow
