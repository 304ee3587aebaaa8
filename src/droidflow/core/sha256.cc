#include "droidflow/core/sha256.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace droidflow {

namespace {

/// One of OpenSSL's hashes.
class Digest {
 public:
  explicit Digest(const EVP_MD* kind) {
    // Fails only without memory or where an administrator forbids the hash.
    DF_CHECK(evp_ != nullptr && EVP_DigestInit_ex(evp_.get(), kind, nullptr) == 1,
             "libcrypto has not this hash");
  }

  void Add(std::span<const std::byte> bytes) {
    DF_CHECK(EVP_DigestUpdate(evp_.get(), bytes.data(), bytes.size()) == 1);
  }

  std::string Finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    DF_CHECK(EVP_DigestFinal_ex(evp_.get(), digest.data(), &size) == 1);
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> evp_{EVP_MD_CTX_new()};
};

Result<UniqueFd> OpenFile(const std::filesystem::path& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  return fd;
}

/// Gives a file's bytes to a hash. @return how many.
template <typename Hash>
Result<std::uint64_t> AddFile(int fd, const std::filesystem::path& path, Hash& hash) {
  std::vector<std::byte> buffer(std::size_t{1} << 18);
  for (std::uint64_t total = 0;;) {
    const ssize_t count = read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FailErrno(errno, fmt::format("cannot read {}", path.string()));
    if (count == 0) return total;
    hash.Add(std::span(buffer).first(static_cast<std::size_t>(count)));
    total += static_cast<std::uint64_t>(count);
  }
}

}  // namespace

struct Sha256::Context {
  Digest digest{EVP_sha256()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::Add(std::span<const std::byte> bytes) { context_->digest.Add(bytes); }

std::string Sha256::Finish() { return context_->digest.Finish(); }

struct Md5::Context {
  Digest digest{EVP_md5()};
};

Md5::Md5() : context_(std::make_unique<Context>()) {}
Md5::Md5(Md5&&) noexcept = default;
Md5& Md5::operator=(Md5&&) noexcept = default;
Md5::~Md5() = default;

void Md5::Add(std::span<const std::byte> bytes) { context_->digest.Add(bytes); }

std::string Md5::Finish() { return context_->digest.Finish(); }

Result<std::string> Sha256OfFile(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path));
  Sha256 hash;
  DF_RETURN_IF_ERROR(AddFile(fd.get(), path, hash));
  return hash.Finish();
}

Result<std::string> GitBlobOidOfFile(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path));
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) {
    return FailErrno(errno, fmt::format("cannot stat {}", path.string()));
  }
  Digest hash(EVP_sha1());
  const std::string header = fmt::format("blob {}", info.st_size);
  hash.Add(std::as_bytes(std::span(header.c_str(), header.size() + 1)));
  DF_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, AddFile(fd.get(), path, hash));
  if (size_bytes == static_cast<std::uint64_t>(info.st_size)) return hash.Finish();
  return Fail(ErrorKind::kTransient,
              "it had {} bytes and then {}: {}",
              info.st_size,
              size_bytes,
              path.string());
}

}  // namespace droidflow
