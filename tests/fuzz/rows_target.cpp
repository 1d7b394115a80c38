#include "tests/fuzz/rows_target.hpp"

#include <cstdlib>
#include <memory>
#include <numeric>

#include "common/rows/create_table.hpp"
#include "common/rows/decoder.hpp"
#include "tests/support/rows/recorder.hpp"

namespace understudy::rows::testing {
namespace {

struct images {
  pages before;
  pages after;
  std::vector<std::uint32_t> changed;
};

// Interior and leaf pages of both kinds of tables, overflow chains, a schema that goes over several pages.
const images& written() {
  static const images once = [] {
    recorder database({.page_size = 512, .encoding = "UTF-8", .auto_vacuum = 1});
    const bool made = database.execute(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT, b BLOB, r REAL DEFAULT 3);"
        "CREATE TABLE k (x TEXT, y, z BLOB, PRIMARY KEY (x, y)) WITHOUT ROWID;"
        "CREATE TABLE wide (c1, c2 INT, c3 AS (c1) STORED, c4 CHECK (c4 <> 'a text that takes room'));"
        "CREATE TABLE gone (c); CREATE VIEW v AS SELECT * FROM a; CREATE INDEX i ON a (t);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 60)"
        "  INSERT INTO a SELECT i, 'text '||i, zeroblob((i % 7) * 300), i / 2.0 FROM n;"
        "INSERT INTO k SELECT t, id, b FROM a; INSERT INTO gone SELECT t FROM a;");
    if (!made || !database.step()) std::abort();
    images all;
    all.before = database.after;
    if (!database.execute(
            "BEGIN; UPDATE a SET b = zeroblob(length(b) + 7), t = 'other' WHERE id % 3 = 0;"
            "DELETE FROM k WHERE y % 4 = 0; DROP TABLE gone; ALTER TABLE wide RENAME TO narrow;"
            "ALTER TABLE a ADD COLUMN s DEFAULT 'x'; INSERT INTO narrow (c1) SELECT t FROM a; COMMIT") ||
        !database.step()) {
      std::abort();
    }
    all.after = database.after;
    all.changed = database.changed;
    return all;
  }();
  return once;
}

void patch(pages& image, std::span<const std::uint8_t> four) {
  const std::size_t page = four[0] % image.content.size();
  std::string bytes = *image.content[page];
  bytes[(four[1] << 8 | four[2]) % bytes.size()] = static_cast<char>(four[3]);
  image.content[page] = std::make_shared<const std::string>(std::move(bytes));
}

}  // namespace

void decode_patched(std::span<const std::uint8_t> patches) {
  images all = written();
  for (std::size_t i = 0; i + 4 <= patches.size() && i < 400; i += 4) {
    // Half of them to both, so that an image that is damaged from the beginning is read on.
    const auto four = patches.subspan(i, 4);
    if (four[1] & 0x80) patch(all.before, four);
    patch(all.after, four);
  }
  auto opened = decoder::open(all.before, {.largest_value = 1000, .rows_at_once = 50});
  if (!opened.ok()) return;
  std::size_t changes = 0;
  const auto count = [&](change) {
    ++changes;
    return absl::OkStatus();
  };
  std::vector<std::uint32_t> every(std::max(all.before.content.size(), all.after.content.size()));
  std::iota(every.begin(), every.end(), 1);
  if (!opened->decode(all.before, all.after, patches.size() % 2 ? all.changed : every, count).ok()) return;
  opened->decode(all.after, all.before, every, count).IgnoreError();
  if (changes > 1'000'000) std::abort();  // more than the pages can hold
}

void read_definition(std::span<const std::uint8_t> text) {
  const auto parsed = parse_create_table("t", {reinterpret_cast<const char*>(text.data()), text.size()});
  if (!parsed.ok()) return;
  for (const std::size_t column : parsed->stored) {
    if (column >= parsed->columns.size()) std::abort();
  }
  if (parsed->key_columns > parsed->stored.size()) std::abort();
  if (parsed->rowid_alias && *parsed->rowid_alias >= parsed->columns.size()) std::abort();
}

}  // namespace understudy::rows::testing
