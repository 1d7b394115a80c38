// Definitions of tables, and single transactions of which it is known what they must come to.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "common/rows/create_table.hpp"
#include "common/rows/decoder.hpp"
#include "tests/support/rows/recorder.hpp"

namespace understudy::rows {
namespace {

using testing::recorder;

table parsed(const std::string& sql) {
  auto t = parse_create_table("t", sql);
  EXPECT_TRUE(t.ok()) << t.status();
  return t.ok() ? *std::move(t) : table{};
}

TEST(RowsDefinition, WhatIsTheRowid) {
  EXPECT_EQ(parsed("CREATE TABLE t (a, b INTEGER PRIMARY KEY)").rowid_alias, 1u);
  EXPECT_EQ(parsed("CREATE TABLE t (a, b integer, PRIMARY KEY (\"b\" DESC))").rowid_alias, 1u);
  EXPECT_EQ(parsed("CREATE TABLE t (b INTEGER PRIMARY KEY DESC)").rowid_alias, std::nullopt);
  EXPECT_EQ(parsed("CREATE TABLE t (b INT PRIMARY KEY)").rowid_alias, std::nullopt);
  EXPECT_EQ(parsed("CREATE TABLE t (a INTEGER, b, PRIMARY KEY (a, b))").rowid_alias, std::nullopt);
  EXPECT_EQ(parsed("CREATE TABLE t (b INTEGER PRIMARY KEY) WITHOUT ROWID").rowid_alias, std::nullopt);
}

TEST(RowsDefinition, KeysComeFirstWhereThereIsNoRowid) {
  const table t =
      parsed("CREATE TABLE t (a, b AS (a), c TEXT, d, PRIMARY KEY (d, c, d)) STRICT, WITHOUT ROWID");
  EXPECT_EQ(t.stored, (std::vector<std::size_t>{3, 2, 0}));
  EXPECT_EQ(t.key_columns, 2u);
}

TEST(RowsDefinition, TypesAndDefaults) {
  const table t = parsed(
      "CREATE TABLE t ([a b] VARCHAR (3, 4) DEFAULT 7, `c` \"float\" DEFAULT (- 2) NOT NULL, d GENERATED "
      "ALWAYS AS (1), "
      "e REFERENCES x(y) ON DELETE SET DEFAULT ON UPDATE SET NULL DEFAULT 'it''s', f DEFAULT (1 + 1) -- , "
      "g\n)");
  ASSERT_EQ(t.columns.size(), 5u);
  EXPECT_EQ(t.columns[0].name, "a b");
  EXPECT_EQ(t.columns[0].kind, affinity::text);
  EXPECT_EQ(t.columns[0].when_absent, value(text_value{"7"}));
  EXPECT_EQ(t.columns[1].kind, affinity::real);
  EXPECT_EQ(t.columns[1].when_absent, value(-2.0));
  EXPECT_TRUE(t.columns[2].computed);
  EXPECT_EQ(t.columns[2].kind, affinity::blob);
  EXPECT_EQ(t.columns[3].when_absent, value(text_value{"it's"}));
  EXPECT_EQ(t.columns[4].when_absent, std::nullopt);
}

TEST(RowsDefinition, WhatIsNotUnderstoodIsSaid) {
  for (const char* sql :
       {"", "CREATE TABLE t", "CREATE TABLE t (a, PRIMARY KEY (b)) WITHOUT ROWID", "CREATE TABLE t (a))",
        "CREATE TABLE t (a 'x)", "CREATE TABLE t (,)", "CREATE TABLE t (a) WITHOUT ROWID"}) {
    EXPECT_EQ(parse_create_table("t", sql).status().code(), absl::StatusCode::kUnimplemented) << sql;
  }
}

// One line per change.
std::vector<std::string> changes_of(decoder& of, recorder& database, const std::string& sql,
                                    const table_filter& wanted = nullptr) {
  EXPECT_TRUE(database.execute(sql)) << database.error;
  std::vector<std::string> lines;
  if (!database.step()) return lines;
  const auto status = of.decode(
      database.before, database.after, database.changed,
      [&](change c) {
        static constexpr const char* words[] = {"insert", "update", "remove", "create",
                                                "alter",  "drop",   "unclear"};
        std::string line = fmt::format("{} {}", words[static_cast<int>(c.kind)], c.table);
        if (c.rowid) line += fmt::format(" {}", *c.rowid);
        if (!c.old_name.empty()) line += " was " + c.old_name;
        if (c.after && c.after->values.size() > 1) {
          if (const auto* omitted = std::get_if<omitted_value>(&c.after->values[1])) {
            line += fmt::format(" omits {}", omitted->size);
          }
        }
        lines.push_back(line);
        return absl::OkStatus();
      },
      wanted);
  EXPECT_TRUE(status.ok()) << status;
  return lines;
}

using lines = std::vector<std::string>;

TEST(RowsDecoder, KnownTransactions) {
  recorder database({});
  auto opened = decoder::open(database.after);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto run = [&](const std::string& sql) { return changes_of(*opened, database, sql); };

  EXPECT_EQ(run("BEGIN; CREATE TABLE b (x INTEGER PRIMARY KEY, y); CREATE TABLE a (x); INSERT INTO b VALUES "
                "(5, 'e');"
                "CREATE INDEX i ON b (y); COMMIT"),
            (lines{"create a", "create b", "insert b 5", "create i"}));
  EXPECT_EQ(run("UPDATE b SET y = 'f'"), (lines{"update b 5"}));
  EXPECT_EQ(run("UPDATE b SET y = 'f'"), lines{}) << "nothing is different";
  EXPECT_EQ(run("BEGIN; INSERT INTO a VALUES (1); DELETE FROM a; COMMIT"), lines{});
  EXPECT_EQ(run("UPDATE b SET x = 6"), (lines{"remove b 5", "insert b 6"})) << "another rowid, another row";
  EXPECT_EQ(run("ALTER TABLE b ADD COLUMN z DEFAULT 3"), (lines{"alter b"})) << "no row was written";
  EXPECT_EQ(run("UPDATE b SET z = 3"), lines{}) << "it was three already";
  EXPECT_EQ(run("ALTER TABLE b RENAME TO c"), (lines{"alter c was b", "alter i"}));
  EXPECT_EQ(run("BEGIN; ALTER TABLE c ADD COLUMN w; UPDATE c SET w = 1; COMMIT"),
            (lines{"alter c", "update c 6"}));
  EXPECT_EQ(run("ALTER TABLE c DROP COLUMN z"), (lines{"alter c"})) << "rows are rewritten, but say the same";
  EXPECT_EQ(run("VACUUM"), lines{});
  EXPECT_EQ(run("DROP TABLE c"), (lines{"remove c 6", "drop c", "drop i"}));
}

TEST(RowsDecoder, LongValuesAreOmittedButCompared) {
  recorder database({});
  ASSERT_TRUE(database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, b)"));
  database.step();
  auto opened = decoder::open(database.after, {.largest_value = 1000});
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto run = [&](const std::string& sql) { return changes_of(*opened, database, sql); };
  EXPECT_EQ(run("INSERT INTO t VALUES (1, zeroblob(1000)), (2, zeroblob(50000))"),
            (lines{"insert t 1", "insert t 2 omits 50000"}));
  EXPECT_EQ(run("UPDATE t SET b = CAST(replace(hex(zeroblob(25000)), '00', 'xy') AS BLOB) WHERE id = 2"),
            (lines{"update t 2 omits 50000"}));
}

TEST(RowsDecoder, OnlyWhatIsWanted) {
  recorder database({});
  ASSERT_TRUE(database.execute("CREATE TABLE t (x); CREATE TABLE u (x)"));
  database.step();
  auto opened = decoder::open(database.after);
  ASSERT_TRUE(opened.ok()) << opened.status();
  const auto wanted = [](const std::string& name) { return name == "u"; };
  EXPECT_EQ(changes_of(*opened, database, "BEGIN; INSERT INTO t VALUES (1); INSERT INTO u VALUES (1); COMMIT",
                       wanted),
            (lines{"insert u 1"}));
}

TEST(RowsDecoder, AnErrorOfTheSinkComesBackAndTheNextStepIsRight) {
  recorder database({});
  ASSERT_TRUE(database.execute("CREATE TABLE t (x)"));
  database.step();
  auto opened = decoder::open(database.after);
  ASSERT_TRUE(opened.ok()) << opened.status();
  ASSERT_TRUE(database.execute("INSERT INTO t VALUES (1)") && database.step());
  const auto refuse = [](change) { return absl::CancelledError("enough"); };
  EXPECT_EQ(opened->decode(database.before, database.after, database.changed, refuse).code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(changes_of(*opened, database, "INSERT INTO t VALUES (2)"), (lines{"insert t 2"}));
}

}  // namespace
}  // namespace understudy::rows
