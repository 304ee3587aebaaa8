#pragma once

#include "droidflow/core/result.h"

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace droidflow {

/// SHA-256 of bytes that come piece by piece.
///
/// Source   FIPS 180-4; computed by OpenSSL's libcrypto, with the processor's instructions for it.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void Add(std::span<const std::byte> bytes);
  /// 64 lower-case hexadecimal digits. Nothing may follow.
  [[nodiscard]] std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// MD5 of bytes that come piece by piece, against accidents only: buckets list nothing better.
///
/// Source   RFC 1321.
class Md5 {
 public:
  Md5();
  Md5(Md5&&) noexcept;
  Md5& operator=(Md5&&) noexcept;
  ~Md5();

  void Add(std::span<const std::byte> bytes);
  /// 32 lower-case hexadecimal digits. Nothing may follow.
  [[nodiscard]] std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// Reads a file through. @return kNotFound when there is none.
[[nodiscard]] Result<std::string> Sha256OfFile(const std::filesystem::path& path);

/// The name that git gives to a file's content: SHA-1 of "blob <size>\0" and the content, 40
/// lower-case hexadecimal digits. @return kNotFound when there is no file.
[[nodiscard]] Result<std::string> GitBlobOidOfFile(const std::filesystem::path& path);

}  // namespace droidflow
