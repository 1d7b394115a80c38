#include "common/sqlite/database.hpp"

#include <fmt/core.h>
#include <sqlite3.h>

#include <cstdlib>

#include "common/status/status_macros.hpp"

namespace understudy::sqlite {
namespace {

absl::StatusCode code_of(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CONSTRAINT:
      return absl::StatusCode::kFailedPrecondition;
    case SQLITE_CANTOPEN:
      return absl::StatusCode::kNotFound;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
    case SQLITE_MISUSE:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kInternal;
  }
}

absl::Status error_of(sqlite3* d, int code, std::string_view operation) {
  return sqlite_status(code, operation, d != nullptr ? sqlite3_errmsg(d) : sqlite3_errstr(code));
}

void must(int code) {
  if (code != SQLITE_OK) std::abort();
}

}  // namespace

absl::Status sqlite_status(int code, std::string_view operation, std::string_view message) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return absl::OkStatus();
  return absl::Status(code_of(code), fmt::format("{}: {} (SQLite {})", operation, message, code));
}

void statement::finalize::operator()(sqlite3_stmt* s) const {
  sqlite3_finalize(s);
}
void database::close::operator()(sqlite3* d) const {
  sqlite3_close_v2(d);
}

statement& statement::bind(int parameter, std::int64_t value) {
  must(sqlite3_bind_int64(handle_.get(), parameter, value));
  return *this;
}
statement& statement::bind(int parameter, double value) {
  must(sqlite3_bind_double(handle_.get(), parameter, value));
  return *this;
}
statement& statement::bind(int parameter, std::string_view text) {
  // A null pointer would bind NULL instead of the empty text.
  const char* data = text.data() != nullptr ? text.data() : "";
  must(sqlite3_bind_text64(handle_.get(), parameter, data, text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}
statement& statement::bind(int parameter, std::span<const std::byte> blob) {
  const void* data = blob.data() != nullptr ? static_cast<const void*>(blob.data()) : "";
  must(sqlite3_bind_blob64(handle_.get(), parameter, data, blob.size(), SQLITE_TRANSIENT));
  return *this;
}
statement& statement::bind_null(int parameter) {
  must(sqlite3_bind_null(handle_.get(), parameter));
  return *this;
}

absl::StatusOr<bool> statement::step() {
  const int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW) return true;
  absl::Status failed;
  if (code != SQLITE_DONE)
    failed = error_of(sqlite3_db_handle(handle_.get()), code, sqlite3_sql(handle_.get()));
  sqlite3_reset(handle_.get());
  if (!failed.ok()) return failed;
  return false;
}

absl::Status statement::run() {
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool row, step());
    if (!row) return absl::OkStatus();
  }
}

void statement::reset() {
  sqlite3_reset(handle_.get());
}

bool statement::column_is_null(int column) const {
  return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
}
std::int64_t statement::column_integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}
double statement::column_real(int column) const {
  return sqlite3_column_double(handle_.get(), column);
}
std::string_view statement::column_text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(handle_.get(), column));
  return {text != nullptr ? text : "", static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column))};
}
std::span<const std::byte> statement::column_blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(handle_.get(), column));
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column))};
}

absl::StatusOr<database> database::open(const std::string& path, const options& how) {
  int flags = SQLITE_OPEN_READONLY;
  if (!how.read_only) flags = SQLITE_OPEN_READWRITE | (how.create ? SQLITE_OPEN_CREATE : 0);
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                   how.vfs.empty() ? nullptr : how.vfs.c_str());
  database opened(raw);
  if (code != SQLITE_OK) return error_of(raw, code, fmt::format("open {}", path));
  sqlite3_busy_timeout(raw, how.busy_timeout_ms);
  return opened;
}

absl::Status database::execute(const std::string& sql) {
  const int code = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : error_of(handle_.get(), code, sql);
}

absl::StatusOr<statement> database::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()), 0, &raw, nullptr);
  if (code != SQLITE_OK) return error_of(handle_.get(), code, sql);
  return statement(raw);
}

std::int64_t database::last_insert_rowid() const {
  return sqlite3_last_insert_rowid(handle_.get());
}
std::int64_t database::changes() const {
  return sqlite3_changes64(handle_.get());
}

absl::StatusOr<transaction> transaction::start(database& d) {
  UNDERSTUDY_RETURN_IF_ERROR(d.execute("BEGIN IMMEDIATE"));
  return transaction(d);
}

transaction::~transaction() {
  // An error may have rolled it back already; then there is nothing left to do.
  if (database_ != nullptr && sqlite3_get_autocommit(database_->handle()) == 0) {
    (void)database_->execute("ROLLBACK");
  }
}

absl::Status transaction::commit() {
  UNDERSTUDY_RETURN_IF_ERROR(database_->execute("COMMIT"));
  database_ = nullptr;
  return absl::OkStatus();
}

}  // namespace understudy::sqlite
