#include "droidflow/core/result.h"

#include "droidflow/core/check.h"
#include "droidflow/core/result_matchers.h"

namespace droidflow {
namespace {

using ::testing::HasSubstr;

Result<int> Half(int value) {
  if (value % 2 != 0)
    return FailAs("odd", ErrorKind::kInvalidData, "want an even number, have {}", value);
  return value / 2;
}

Result<int> Quarter(int value) {
  DF_ASSIGN_OR_RETURN(const int half, Half(value));
  DF_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status IsDivisibleByFour(int value) {
  DF_RETURN_IF_ERROR(Quarter(value));
  return {};
}

TEST(Result, HoldsTheValueOrTheError) {
  EXPECT_EQ(Quarter(12).value(), 3);
  EXPECT_THAT(Quarter(12), IsOk());
  EXPECT_EQ(Quarter(6).error(),
            (Error{ErrorKind::kInvalidData, "want an even number, have 3", "odd"}));
}

TEST(Result, PassesAnErrorOnUnchanged) {
  EXPECT_THAT(IsDivisibleByFour(8), IsOk());
  EXPECT_THAT(IsDivisibleByFour(10), FailsAs("odd", HasSubstr("have 5")));
}

TEST(Result, HasNoStatusUnlessOneIsNamed) {
  const Status status = Fail(ErrorKind::kTransient, "try {} more", 2);
  EXPECT_EQ(status.error(), (Error{ErrorKind::kTransient, "try 2 more", ""}));
}

TEST(Result, DuringSaysWhatWasDoneAndKeepsKindAndStatus) {
  const Result<int> result = Half(7).map_error(During("reading the count"));
  EXPECT_EQ(
      result.error(),
      (Error{ErrorKind::kInvalidData, "reading the count: want an even number, have 7", "odd"}));
}

TEST(Result, MatcherTellsKindsApart) {
  EXPECT_THAT(Half(7), FailsWith(ErrorKind::kInvalidData, "want an even number, have 7"));
  EXPECT_THAT(Half(7), ::testing::Not(FailsWith(ErrorKind::kInternal, HasSubstr("even"))));
  EXPECT_STREQ(ToString(ErrorKind::kNoSpace), "no space");
}

TEST(CheckDeathTest, PrintsConditionAndValues) {
  const int value = 3;
  DF_CHECK(value == 3, "value {}", value);
  EXPECT_DEATH(DF_CHECK(value == 4, "value {}", value),
               "result_test.cc:[0-9]+: check failed: value == 4 value 3");
}

}  // namespace
}  // namespace droidflow
