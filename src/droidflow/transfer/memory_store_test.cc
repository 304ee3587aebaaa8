#include "droidflow/transfer/memory_store.h"

#include "droidflow/transfer/store_suite.h"

#include <memory>

namespace droidflow {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

class MemoryPlace : public StorePlace {
 public:
  std::shared_ptr<Store> Open() override { return store_; }

 private:
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
};

INSTANTIATE_TEST_SUITE_P(InMemory, StoreSuite, testing::Values([] {
                           return std::make_unique<MemoryPlace>();
                         }));

class MemoryStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(WriteFile(file_.source, "content"), IsOk());
    file_.sha256 = Sha256OfFile(file_.source).value();
    ASSERT_THAT(store_.Prepare(), IsOk());
  }

  TemporaryDirectory directory_;
  OutgoingFile file_{.path = "a.npz", .source = directory_ / "a", .size_bytes = 7};
  MemoryStore store_;
};

TEST_F(MemoryStoreTest, FailsWithoutEffectBeforeAndWithEffectAfter) {
  int left = 1;
  const auto fail_once = [&](StoreCall call, const std::string&) -> Status {
    if (call != StoreCall::kCommit || left-- <= 0) return {};
    return FailAs(store_status::kUnclear, ErrorKind::kTransient, "no reply");
  };
  const CommitRequest request{.files = {file_}, .summary = "one", .batch_id = "b"};
  EXPECT_THAT(store_.Put(request.files), Each(IsOk()));

  store_.SetHooks(fail_once);
  EXPECT_THAT(store_.Commit(request), FailsAs(store_status::kUnclear, HasSubstr("no reply")));
  EXPECT_EQ(store_.Head().value(), "1");

  left = 1;
  store_.SetHooks({}, fail_once);
  EXPECT_THAT(store_.Commit(request), FailsAs(store_status::kUnclear, HasSubstr("no reply")));
  EXPECT_EQ(store_.Head().value(), "2");
  EXPECT_EQ(store_.CountOf(StoreCall::kCommit), 2);
}

TEST_F(MemoryStoreTest, ForgetsBytesThatNoCommitNames) {
  EXPECT_THAT(store_.Put(std::vector{file_}), Each(IsOk()));
  store_.DropUncommittedBytes();
  EXPECT_THAT(store_.Commit({.files = {file_}, .summary = "one", .batch_id = "b"}),
              FailsAs(store_status::kBytesMissing, HasSubstr("a.npz")));
}

}  // namespace
}  // namespace droidflow
