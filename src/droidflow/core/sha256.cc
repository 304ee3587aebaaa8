#include "droidflow/core/sha256.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>
#include <vector>

namespace droidflow {

struct Sha256::Context {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> evp{EVP_MD_CTX_new()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  // Fails only without memory or where an administrator forbids SHA-256.
  DF_CHECK(context_->evp != nullptr &&
               EVP_DigestInit_ex(context_->evp.get(), EVP_sha256(), nullptr) == 1,
           "libcrypto has no SHA-256");
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::Add(std::span<const std::byte> bytes) {
  DF_CHECK(EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  DF_CHECK(EVP_DigestFinal_ex(context_->evp.get(), digest.data(), &size) == 1);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

Result<std::string> Sha256OfFile(const std::filesystem::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  Sha256 hash;
  std::vector<std::byte> buffer(std::size_t{1} << 18);
  for (;;) {
    const ssize_t count = read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FailErrno(errno, fmt::format("cannot read {}", path.string()));
    if (count == 0) return hash.Finish();
    hash.Add(std::span(buffer).first(static_cast<std::size_t>(count)));
  }
}

}  // namespace droidflow
