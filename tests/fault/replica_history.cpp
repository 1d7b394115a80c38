#include "tests/fault/replica_history.hpp"

#include <fmt/core.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "common/sqlite/database.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::test {
namespace {

void must(const absl::Status& s) {
  if (s.ok()) return;
  fmt::print(stderr, "{}\n", message_of(s));
  std::abort();
}

constexpr const char* digest_query =
    "SELECT count(*) || ':' || ifnull(sum(k * 31 + v), 0) || ':' || ifnull(sum(length(filler)), 0) FROM t";

absl::StatusOr<std::string> text_of(sqlite::database& d, const std::string& query) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto s, d.prepare(query));
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool row, s.step());
  return row ? std::string(s.column_text(0)) : std::string();
}

std::vector<std::string> pages_of(const std::string& path, std::uint32_t page_size) {
  std::ifstream in(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::vector<std::string> pages;
  for (std::size_t at = 0; at + page_size <= all.size(); at += page_size)
    pages.push_back(all.substr(at, page_size));
  return pages;
}

sqlite::page_hash hash_of(std::uint32_t number, const std::string& page) {
  return sqlite::hash_page(number, std::as_bytes(std::span(page)));
}

}  // namespace

history make_history(const history_options& options) {
  const temporary_directory place(where::memory);
  const std::string path = place.path() + "/source.db";
  auto d = sqlite::database::open(path, {}).value();
  must(
      d.execute(fmt::format("PRAGMA page_size={}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode={};"
                            "PRAGMA synchronous=OFF; CREATE TABLE marker(n INTEGER);"
                            "INSERT INTO marker VALUES(0);"
                            "CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER, filler BLOB);"
                            "CREATE INDEX by_v ON t(v)",
                            options.page_size, options.wal_header ? "WAL" : "DELETE")));
  history h{.page_size = options.page_size,
            .start = {},
            .transactions = {},
            .expected = {},
            .registers = {},
            .pages = {}};
  std::mt19937_64 random(options.seed);
  std::vector<std::string> before;
  sqlite::page_hash combined;
  for (std::size_t n = 0; n <= options.transactions; ++n) {
    if (n > 0) {
      must(d.execute(fmt::format("BEGIN; UPDATE marker SET n={};", n)));
      const auto rows = random() % 20 == 0 ? 60 : 1 + random() % 3;
      for (std::uint64_t i = 0; i < rows; ++i) {
        must(d.execute(fmt::format("INSERT OR REPLACE INTO t VALUES({}, {}, randomblob({}))", random() % 2000,
                                   random() % 1000, random() % 900)));
      }
      if (n % 9 == 0) must(d.execute("DELETE FROM t WHERE k % 3 = 0; PRAGMA incremental_vacuum"));
      must(d.execute("COMMIT"));
    }
    if (options.wal_header) must(d.execute("PRAGMA wal_checkpoint(TRUNCATE)"));
    auto now = pages_of(path, options.page_size);
    channel::captured_transaction t;
    t.number = n;
    t.page_size = options.page_size;
    t.database_pages = static_cast<std::uint32_t>(now.size());
    t.hash_before = combined;
    for (std::size_t i = now.size(); i < before.size(); ++i) {
      combined ^= hash_of(static_cast<std::uint32_t>(i + 1), before[i]);
    }
    for (std::size_t i = 0; i < now.size(); ++i) {
      const auto number = static_cast<std::uint32_t>(i + 1);
      if (i < before.size() && before[i] == now[i]) continue;
      if (i < before.size()) combined ^= hash_of(number, before[i]);
      combined ^= hash_of(number, now[i]);
      t.pages.push_back({number, now[i]});
    }
    t.hash_after = combined;
    h.expected.push_back(text_of(d, digest_query).value());
    h.registers.push_back(combined);
    h.pages.push_back(t.database_pages);
    if (n == 0) {
      h.start = now;
    } else {
      h.transactions.push_back(std::move(t));
    }
    before = std::move(now);
  }
  return h;
}

std::vector<channel::page_image> history::image(std::size_t n) const {
  std::vector<std::string> now = start;
  for (std::size_t i = 0; i < n; ++i) {
    now.resize(transactions[i].database_pages);
    for (const auto& p : transactions[i].pages) now[p.number - 1] = p.bytes;
  }
  std::vector<channel::page_image> result;
  for (std::size_t i = 0; i < now.size(); ++i)
    result.push_back({static_cast<std::uint32_t>(i + 1), std::move(now[i])});
  return result;
}

int history::find(const sqlite::page_hash& combined) const {
  for (std::size_t n = 0; n < registers.size(); ++n) {
    if (registers[n] == combined) return static_cast<int>(n);
  }
  return -1;
}

finding inspect(sqlite::database& d, const history& h, bool integrity) {
  finding f;
  const auto look = [&]() -> absl::Status {
    // One snapshot for all questions.
    UNDERSTUDY_RETURN_IF_ERROR(d.execute("BEGIN"));
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string marker, text_of(d, "SELECT n FROM marker"));
    f.marker = std::atoll(marker.c_str());
    if (integrity) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const std::string verdict, text_of(d, "PRAGMA integrity_check"));
      if (verdict.compare("ok") != 0) return absl::DataLossError(fmt::format("integrity_check: {}", verdict));
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string digest, text_of(d, digest_query));
    if (f.marker < 0 || f.marker > static_cast<std::int64_t>(h.size()) || digest != h.expected[f.marker]) {
      return absl::DataLossError(fmt::format("table t is not that of state {}: {}", f.marker, digest));
    }
    return d.execute("COMMIT");
  };
  if (const absl::Status s = look(); !s.ok()) f.error = std::string(message_of(s));
  return f;
}

finding inspect(const std::string& path, const history& h, bool integrity) {
  auto d = sqlite::database::open(path, {.create = false, .busy_timeout_ms = 10000});
  if (!d.ok()) return {.marker = -1, .error = std::string(message_of(d.status()))};
  return inspect(*d, h, integrity);
}

absl::Status apply(replica::database_copy& copy, const history& h, std::size_t n) {
  const auto& t = h.transactions[n - 1];
  UNDERSTUDY_RETURN_IF_ERROR(copy.add_pages(t.page_size, t.pages));
  return copy.end_transaction({.number = t.number,
                               .page_size = t.page_size,
                               .database_pages = t.database_pages,
                               .hash_before = t.hash_before,
                               .hash_after = t.hash_after});
}

absl::Status heal(replica::database_copy& copy, const history& h, std::size_t n, channel::heal_way way) {
  const auto state = copy.state();
  const auto there = copy.hashes(1, state.database_pages);
  UNDERSTUDY_RETURN_IF_ERROR(copy.begin_heal(way, h.page_size));
  for (const auto& p : h.image(n)) {
    if (state.page_size == h.page_size && p.number <= there.size() &&
        there[p.number - 1] == hash_of(p.number, p.bytes)) {
      continue;
    }
    UNDERSTUDY_RETURN_IF_ERROR(copy.add_pages(h.page_size, {&p, 1}));
  }
  return copy.end_heal(h.pages[n], h.registers[n]);
}

}  // namespace understudy::test
