#include "droidflow/core/sqlite.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <fstream>
#include <limits>

namespace droidflow {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

Database OpenNew(const TemporaryDirectory& dir) {
  Database database = Database::Open(dir / "test.sqlite", Database::Mode::kReadWriteCreate).value();
  EXPECT_THAT(database.Execute("CREATE TABLE item (id INTEGER, weight REAL, name TEXT)"), IsOk());
  return database;
}

TEST(Statement, GivesBackWhatWasBound) {
  const TemporaryDirectory dir;
  Database database = OpenNew(dir);
  constexpr std::int64_t kBig = std::numeric_limits<std::int64_t>::min();
  const std::string name("a\0'; DROP TABLE item; --", 24);
  Statement insert = database.Prepare("INSERT INTO item VALUES (?1, ?2, ?3)").value();
  ASSERT_THAT(insert.Bind(1, kBig).Bind(2, 0.1).Bind(3, name).Run(), IsOk());
  ASSERT_THAT(insert.BindNull(1).Bind(2, -0.0).Bind(3, std::string_view()).Run(), IsOk());

  Statement select = database.Prepare("SELECT * FROM item ORDER BY rowid").value();
  ASSERT_TRUE(select.Step().value());
  EXPECT_EQ(select.ColumnInt(0), kBig);
  EXPECT_EQ(select.ColumnDouble(1), 0.1);
  EXPECT_EQ(select.ColumnText(2), name);
  ASSERT_TRUE(select.Step().value());
  EXPECT_TRUE(select.ColumnIsNull(0));
  EXPECT_FALSE(select.ColumnIsNull(2));
  EXPECT_EQ(select.ColumnText(2), "");
  EXPECT_FALSE(select.Step().value());
  select.Reset();
  EXPECT_TRUE(select.Step().value());
}

TEST(Statement, SaysWhichSqlIsWrong) {
  const TemporaryDirectory dir;
  Database database = OpenNew(dir);
  EXPECT_THAT(database.Prepare("SELECT no_such FROM item"),
              FailsWith(ErrorKind::kInternal, HasSubstr("no such column: no_such")));
  EXPECT_THAT(database.Execute("NONSENSE"),
              FailsWith(ErrorKind::kInternal, EndsWith((dir / "test.sqlite").string())));
}

TEST(StatementDeathTest, RefusesAPositionThatIsNotThere) {
  const TemporaryDirectory dir;
  Database database = OpenNew(dir);
  Statement select = database.Prepare("SELECT ?1").value();
  EXPECT_DEATH(select.Bind(2, std::int64_t{1}), "cannot bind 2");
}

TEST(Statement, WorksAgainAfterAFailure) {
  const TemporaryDirectory dir;
  Database database = OpenNew(dir);
  ASSERT_THAT(database.Execute("CREATE UNIQUE INDEX item_id ON item (id)"), IsOk());
  Statement insert = database.Prepare("INSERT INTO item (id) VALUES (?1)").value();
  ASSERT_THAT(insert.Bind(1, std::int64_t{1}).Run(), IsOk());
  EXPECT_THAT(insert.Run(), FailsWith(ErrorKind::kInternal, HasSubstr("UNIQUE")));
  EXPECT_THAT(insert.Bind(1, std::int64_t{2}).Run(), IsOk());
}

TEST(Database, KeepsWhatWasWritten) {
  const TemporaryDirectory dir;
  { ASSERT_THAT(OpenNew(dir).Execute("INSERT INTO item VALUES (7, 1, 'seven')"), IsOk()); }
  Database database = Database::Open(dir / "test.sqlite", Database::Mode::kReadOnly).value();
  Statement select = database.Prepare("SELECT name FROM item").value();
  ASSERT_TRUE(select.Step().value());
  EXPECT_EQ(select.ColumnText(0), "seven");
  EXPECT_THAT(database.Execute("DELETE FROM item"),
              FailsWith(ErrorKind::kInternal, HasSubstr("readonly")));
}

TEST(Database, LetsOthersReadWhileItIsWritten) {
  const TemporaryDirectory dir;
  Database writer = OpenNew(dir);
  ASSERT_THAT(writer.Execute("INSERT INTO item VALUES (1, 1, 'a')"), IsOk());
  ASSERT_THAT(writer.Execute("BEGIN IMMEDIATE; INSERT INTO item VALUES (2, 1, 'b')"), IsOk());
  Database reader = Database::Open(dir / "test.sqlite", Database::Mode::kReadOnly).value();
  Statement count = reader.Prepare("SELECT count(*) FROM item").value();
  ASSERT_TRUE(count.Step().value());
  EXPECT_EQ(count.ColumnInt(0), 1);
}

TEST(Database, RefusesWhatIsNoDatabase) {
  const TemporaryDirectory dir;
  const std::string path = (dir / "garbage").string();
  std::ofstream(path) << std::string(4096, 'x');
  for (const auto mode : {Database::Mode::kReadWriteCreate, Database::Mode::kReadOnly}) {
    EXPECT_THAT(Database::Open(path, mode),
                FailsWith(ErrorKind::kInvalidData, EndsWith("file is not a database: " + path)));
  }
}

TEST(Database, SaysWhichFileIsNotThere) {
  const TemporaryDirectory dir;
  EXPECT_THAT(Database::Open(dir / "none.sqlite", Database::Mode::kReadOnly),
              FailsWith(ErrorKind::kNotFound, EndsWith((dir / "none.sqlite").string())));
  EXPECT_THAT(Database::Open(dir / "no/folder.sqlite", Database::Mode::kReadWriteCreate),
              FailsWith(ErrorKind::kNotFound, EndsWith((dir / "no/folder.sqlite").string())));
}

TEST(Database, SaysThatItIsFull) {
  const TemporaryDirectory dir;
  Database database = OpenNew(dir);
  ASSERT_THAT(database.Execute("PRAGMA max_page_count = 4"), IsOk());
  const Status status = database.Execute("INSERT INTO item VALUES (1, 1, zeroblob(100000))");
  EXPECT_THAT(status, FailsAs("no_space", HasSubstr("full")));
  EXPECT_EQ(status.error().kind, ErrorKind::kNoSpace);
}

}  // namespace
}  // namespace droidflow
