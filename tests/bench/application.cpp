#include "tests/bench/application.hpp"

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <thread>

#include "tests/bench/figure.hpp"

namespace understudy::bench {
namespace {

using connection = std::unique_ptr<sqlite3, decltype(&::sqlite3_close)>;

void must(sqlite3* database, const std::string& sql) {
  if (::sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    give_up(fmt::format("{}: {}", sql, ::sqlite3_errmsg(database)));
}

connection connect(const std::string& path) {
  sqlite3* database = nullptr;
  if (::sqlite3_open(path.c_str(), &database) != SQLITE_OK) give_up(path);
  must(database, "PRAGMA busy_timeout=0");
  return {database, &::sqlite3_close};
}

}  // namespace

void make_database(const std::string& path, int rows) {
  const connection database = connect(path);
  must(database.get(),
       "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
       "CREATE TABLE big(id INTEGER PRIMARY KEY, b); CREATE TABLE t(id INTEGER PRIMARY KEY, a, b)");
  constexpr int at_once = 10'000;
  for (int first = 1; first <= rows; first += at_once) {
    must(database.get(), fmt::format("WITH RECURSIVE n(i) AS (SELECT {} UNION ALL SELECT i+1 FROM n WHERE "
                                     "i<{}) INSERT INTO big SELECT i, randomblob(3900) FROM n",
                                     first, std::min(rows, first + at_once - 1)));
  }
  must(database.get(), "PRAGMA wal_checkpoint(TRUNCATE)");
}

void run_sql(const std::string& path, const std::string& sql) {
  must(connect(path).get(), sql);
}

application::application(const std::string& path) : path_(path), database_(connect(path).release()) {
  ::sqlite3_prepare_v2(database_, "INSERT INTO t(a, b) VALUES(?, randomblob(200))", -1, &insert_, nullptr);
  must(database_, "PRAGMA synchronous=OFF");
  constexpr int enough_for_a_reset = 1500;
  for (int i = 0; i < enough_for_a_reset; ++i) {
    ::sqlite3_step(insert_);
    ::sqlite3_reset(insert_);
  }
  must(database_, "PRAGMA synchronous=FULL");
}

application::~application() {
  ::sqlite3_finalize(insert_);
  ::sqlite3_close(database_);
}

bool application::checkpoint() {
  return ::sqlite3_wal_checkpoint_v2(database_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr) ==
         SQLITE_OK;
}

void application::truncate_log() {
  for (int i = 0; i < 1000 && !checkpoint(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
}

work_done application::run(const workload& work) {
  work_done done;
  const auto begin = clock::now();
  const auto end =
      begin + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(work.seconds));
  const auto step = std::chrono::nanoseconds{work.per_second == 0 ? 0 : 1'000'000'000 / work.per_second};
  auto due = begin;
  while (clock::now() < end) {
    if (work.per_second != 0) std::this_thread::sleep_until(due += step);
    ::sqlite3_bind_int64(insert_, 1, static_cast<sqlite3_int64>(done.committed_at.size()));
    const int rc = ::sqlite3_step(insert_);
    ::sqlite3_reset(insert_);
    if (rc == SQLITE_DONE) {
      done.committed_at.push_back(clock::now());
      if (work.truncate_every != 0 &&
          done.committed_at.size() % static_cast<std::size_t>(work.truncate_every) == 0) {
        ++done.checkpoints;
        if (!checkpoint()) ++done.busy_checkpoints;
      }
    } else if (rc == SQLITE_BUSY) {
      ++done.busy;
    } else {
      give_up(fmt::format("insert: {}", ::sqlite3_errmsg(database_)));
    }
  }
  std::error_code gone;
  done.log_bytes = std::filesystem::file_size(path_ + "-wal", gone);
  done.per_second = static_cast<double>(done.committed_at.size()) / (milliseconds_since(begin) / 1000);
  return done;
}

}  // namespace understudy::bench
