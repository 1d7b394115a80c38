#pragma once

// A thin owner of a SQLite connection and its statements, for databases that are ours (state.db). Copies and
// the application's databases are never opened through it in a daemon: closing them would drop the process's
// locks.
//
// Threads: a connection and its statements are used by one thread at a time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace understudy::sqlite {

// Translates an (extended) result code. BUSY and LOCKED: kUnavailable, retry. CORRUPT and NOTADB: kDataLoss.
// FULL: kResourceExhausted. CONSTRAINT: kFailedPrecondition. CANTOPEN: kNotFound. READONLY, PERM and AUTH:
// kPermissionDenied. TOOBIG, RANGE and MISUSE: kInvalidArgument. NOMEM: kResourceExhausted. All else:
// kInternal.
absl::Status sqlite_status(int code, std::string_view operation, std::string_view message);

// A prepared statement. Parameters and columns: parameters count from 1, columns from 0, as in SQLite.
// Must be destroyed before its database.
class statement {
 public:
  statement(statement&&) noexcept = default;
  statement& operator=(statement&&) noexcept = default;

  // Binding copies the value. A position outside the statement aborts: that is a broken statement, not bad
  // input.
  statement& bind(int parameter, std::int64_t value);
  statement& bind(int parameter, double value);
  statement& bind(int parameter, std::string_view text);
  statement& bind(int parameter, std::span<const std::byte> blob);
  statement& bind_null(int parameter);

  // True: a row is there. False: done, and the statement is reset for its next use (bindings stay).
  absl::StatusOr<bool> step();
  // Steps to the end, ignoring rows.
  absl::Status run();
  void reset();

  bool column_is_null(int column) const;
  std::int64_t column_integer(int column) const;
  double column_real(int column) const;
  // Valid until the next step() or reset().
  std::string_view column_text(int column) const;
  std::span<const std::byte> column_blob(int column) const;

 private:
  friend class database;
  struct finalize {
    void operator()(sqlite3_stmt* s) const;
  };
  explicit statement(sqlite3_stmt* s) : handle_(s) {}

  std::unique_ptr<sqlite3_stmt, finalize> handle_;
};

class database {
 public:
  struct options {
    std::string vfs = {};  // empty: SQLite's default
    bool read_only = false;
    bool create = true;          // ignored when read_only
    int busy_timeout_ms = 5000;  // another process may be reading: wait, do not fail at once
  };
  static absl::StatusOr<database> open(const std::string& path, const options& how);

  database(database&&) noexcept = default;
  database& operator=(database&&) noexcept = default;

  // Runs every statement of `sql`.
  absl::Status execute(const std::string& sql);
  absl::StatusOr<statement> prepare(std::string_view sql);
  std::int64_t last_insert_rowid() const;
  std::int64_t changes() const;
  // For the few calls not wrapped here.
  sqlite3* handle() const { return handle_.get(); }

 private:
  struct close {
    void operator()(sqlite3* d) const;
  };
  explicit database(sqlite3* d) : handle_(d) {}

  std::unique_ptr<sqlite3, close> handle_;
};

// BEGIN IMMEDIATE at start(); rolled back by the destructor unless commit() succeeded.
class transaction {
 public:
  static absl::StatusOr<transaction> start(database& d);
  transaction(transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  transaction& operator=(transaction&&) = delete;
  ~transaction();
  // Durable on return where synchronous is FULL.
  absl::Status commit();

 private:
  explicit transaction(database& d) : database_(&d) {}
  database* database_;
};

}  // namespace understudy::sqlite
