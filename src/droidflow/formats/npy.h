#pragma once

/// NumPy's .npy format: the header that names type and shape, and the bytes behind it.

#include "droidflow/core/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace droidflow {

/// Lengths of the axes, slowest first; empty for a scalar.
using NpyShape = std::vector<std::int64_t>;

/// The C++ types that are written to, and viewed in, arrays. Always little-endian.
enum class DType { kF4, kF8, kI4, kI8, kU1 };

/// NumPy's name of a type, "<f4".
[[nodiscard]] constexpr std::string_view ToString(DType dtype) {
  constexpr std::array<std::string_view, 5> kNames{"<f4", "<f8", "<i4", "<i8", "|u1"};
  return kNames[static_cast<std::size_t>(dtype)];
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> : std::integral_constant<DType, DType::kF4> {};
template <>
struct DTypeOf<double> : std::integral_constant<DType, DType::kF8> {};
template <>
struct DTypeOf<std::int32_t> : std::integral_constant<DType, DType::kI4> {};
template <>
struct DTypeOf<std::int64_t> : std::integral_constant<DType, DType::kI8> {};
template <>
struct DTypeOf<std::uint8_t> : std::integral_constant<DType, DType::kU1> {};

/// A type that has a DType.
template <typename T>
concept NpyElement = requires {
  DTypeOf<T>::value;
};

/// The header of an array in C order, magic included: version 1.0, or 2.0 when it is too long for
/// that.
///
/// Shape  no axis may be negative.
/// @param descr  NumPy's name of the type, "<f4" or "<U8".
/// @return       a multiple of 64 bytes, so that data behind it keeps the file's alignment.
[[nodiscard]] std::string FormatNpyHeader(std::string_view descr, const NpyShape& shape);

/// A UTF-8 text as UTF-32LE, what NumPy's <U arrays hold. @return kInvalidData when it is not
/// UTF-8.
[[nodiscard]] Result<std::u32string> Utf32FromUtf8(std::string_view text);

/// One array, as it came.
///
/// Memory  `data` is kept alive by `owner`; copies of the struct share it.
/// Thread  immutable data: any number of readers.
struct NpyArray {
  std::string name;  ///< for messages: a path, or "member x in path"
  std::string descr;
  NpyShape shape;
  bool fortran_order = false;
  std::span<const std::byte> data;  ///< aligned to 16 bytes
  std::shared_ptr<const void> owner;

  /// Number of elements.
  [[nodiscard]] std::int64_t size() const;

  /// The elements in C order, without a copy.
  ///
  /// @return kInvalidData when the array has another type, or is in Fortran order with two axes or
  /// more.
  template <NpyElement T>
  [[nodiscard]] Result<std::span<const T>> As() const {
    DF_RETURN_IF_ERROR(CheckIs(DTypeOf<T>::value));
    return std::span(reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T));
  }

  /// The elements in C order as doubles, from bool, integers, f4 or f8 of either byte order.
  ///
  /// @return kInvalidData for any other type.
  [[nodiscard]] Result<std::vector<double>> ToDoubles() const;

  /// The elements of a <U array with no or one axis as UTF-8, without the NULs at their ends.
  [[nodiscard]] Result<std::vector<std::string>> ToStrings() const;

  /// Whether As() may view the data as `dtype`.
  [[nodiscard]] Status CheckIs(DType dtype) const;
};

/// Reads one array out of bytes that hold it and nothing else.
///
/// Memory   the array shares `bytes` when they are suitably aligned, and copies its data otherwise.
/// Source   numpy.lib.format, versions 1.0 to 3.0. Structured types and Python objects are refused.
/// @param bytes  kept alive by `owner`.
/// @param name   what messages call it.
[[nodiscard]] Result<NpyArray> ParseNpy(std::span<const std::byte> bytes,
                                        std::string_view name,
                                        std::shared_ptr<const void> owner);

/// Reads a .npy file.
[[nodiscard]] Result<NpyArray> ReadNpy(const std::filesystem::path& path);

}  // namespace droidflow
