#include "droidflow/core/sha256.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <string_view>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

// FIPS 180-4's examples, of "", "abc" and a million times "a".
constexpr std::string_view kEmpty =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kMillion =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Sha256, GivesTheStandardsExamples) {
  EXPECT_EQ(Sha256().Finish(), kEmpty);
  Sha256 abc;
  abc.Add(Bytes("abc"));
  EXPECT_EQ(abc.Finish(), kAbc);
}

TEST(Sha256, DoesNotDependOnThePieces) {
  const std::string million(1'000'000, 'a');
  Sha256 hash;
  std::string_view rest = million;
  for (std::size_t size = 0; !rest.empty(); ++size) {
    const std::string_view piece = rest.substr(0, size);
    hash.Add(Bytes(piece));
    rest.remove_prefix(piece.size());
  }
  EXPECT_EQ(hash.Finish(), kMillion);
}

TEST(Md5, GivesTheStandardsExamples) {  // RFC 1321, A.5
  EXPECT_EQ(Md5().Finish(), "d41d8cd98f00b204e9800998ecf8427e");
  Md5 pieces;
  for (const char* const piece : {"message", "", " ", "digest"}) pieces.Add(Bytes(piece));
  EXPECT_EQ(pieces.Finish(), "f96b697d7cb7938d525a2f31aaf161d0");
}

TEST(Sha256OfFile, ReadsTheFileThrough) {
  const TemporaryDirectory directory;
  ASSERT_THAT(WriteFile(directory / "a", std::string(1'000'000, 'a')), IsOk());
  const auto million = Sha256OfFile(directory / "a");
  ASSERT_THAT(million, IsOk());
  EXPECT_EQ(*million, kMillion);
  ASSERT_THAT(WriteFile(directory / "b", ""), IsOk());
  EXPECT_EQ(*Sha256OfFile(directory / "b"), kEmpty);
  EXPECT_THAT(Sha256OfFile(directory / "c"), FailsWith(ErrorKind::kNotFound, HasSubstr("/c")));
  EXPECT_THAT(Sha256OfFile(directory.path()), ::testing::Not(IsOk()));
}

TEST(GitBlobOidOfFile, GivesWhatGitHashObjectPrints) {
  const TemporaryDirectory directory;
  const std::pair<const char*, const char*> files[] = {
      {"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
      {"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"}};
  for (const auto& [content, oid] : files) {
    ASSERT_THAT(WriteFileAtomically(directory / "file", content), IsOk());
    EXPECT_EQ(GitBlobOidOfFile(directory / "file").value(), oid);
  }
  EXPECT_THAT(GitBlobOidOfFile(directory / "none"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none")));
}

}  // namespace
}  // namespace droidflow
