#include "agent-primary/capture/describe.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdlib>

#include "agent-primary/capture/file_locks.hpp"
#include "agent-primary/capture/wal_index.hpp"
#include "common/os/unique_fd.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_text.hpp"

namespace understudy::capture {
namespace {

database_description with(database_description d, std::string problem, std::string remedy) {
  d.problem = std::move(problem);
  d.remedy = std::move(remedy);
  return d;
}

os::unique_fd open_for_reading(const std::string& path) {
  return os::unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

std::string error_text(int error, std::string_view operation, const std::string& path) {
  return std::string(message_of(errno_status(error, operation, path)));
}

}  // namespace

database_description describe_database(const std::string& path) {
  database_description d;
  std::array<char, PATH_MAX> resolved;
  if (::realpath(path.c_str(), resolved.data()) == nullptr) {
    const int error = errno;
    return with(d, error_text(error, "resolve", path),
                error == ENOENT
                    ? "check the path; a database that does not exist yet is captured when it appears"
                    : "check that the agent may search every directory of the path");
  }
  const std::string real = resolved.data();
  const os::unique_fd file = open_for_reading(real);
  if (!file) {
    const int error = errno;
    return with(d, error_text(error, "open", path),
                "check that the agent may read the file and its directory");
  }
  struct ::stat status;
  if (::fstat(file.value(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return with(d, path + " is not a regular file", "name the database file itself");
  }
  d.exists = true;
  d.file_bytes = static_cast<std::uint64_t>(status.st_size);
  if (d.file_bytes == 0) {
    return with(d, path + " is empty: no database was made in it yet", "start the application once");
  }
  std::array<std::byte, 100> bytes;
  std::optional<sqlite::database_header> header;
  if (::pread(file.value(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())) {
    header = sqlite::parse_database_header(bytes);
  }
  if (!header) {
    return with(d, path + " is not a SQLite database, or an encrypted one",
                "check the path; encrypted databases cannot be captured");
  }
  d.page_size = header->page_size;
  d.pages = static_cast<std::uint32_t>((d.file_bytes + d.page_size - 1) / d.page_size);
  d.sqlite_version = header->sqlite_version;
  d.mode = header->wal_mode ? journal_mode::wal : journal_mode::rollback;
  d.has_wal = ::stat((real + "-wal").c_str(), &status) == 0;
  if (d.has_wal) d.wal_bytes = static_cast<std::uint64_t>(status.st_size);
  const os::unique_fd index = open_for_reading(real + "-shm");
  const int index_error = errno;
  d.has_shm = index || index_error != ENOENT;
  d.in_use = index && probe_index_use(index.value()) != index_use::nobody;
  if (d.mode == journal_mode::rollback) {
    d.can_be_captured = true;
    return with(
        d,
        "the database is in rollback-journal mode: each change is found by comparing the whole file, and "
        "transactions that follow fast are delivered as one",
        "for single transactions in real time stop the application and run: sqlite3 " + path +
            " 'PRAGMA journal_mode=WAL'");
  }
  if (d.has_wal && !open_for_reading(real + "-wal")) {
    return with(d, error_text(errno, "open", real + "-wal"), "check that the agent may read it");
  }
  if (!index && index_error != ENOENT) {
    return with(d, error_text(index_error, "open", real + "-shm"), "check that the agent may read it");
  }
  if (d.has_wal && !index &&
      conflicting_lock(file.value(), F_RDLCK, sqlite::db_shared_first, sqlite::db_shared_size) == F_WRLCK) {
    return with(d, "the application keeps the wal-index to itself (locking_mode=EXCLUSIVE)",
                "set PRAGMA locking_mode=NORMAL in the application");
  }
  d.can_be_captured = true;
  // https://sqlite.org/wal.html#walresetbug: fixed in 3.51.3, and in 3.44.6 and 3.50.7.
  const std::uint32_t v = d.sqlite_version;
  const bool fixed = v >= 3051003 || (v >= 3050007 && v < 3051000) || (v >= 3044006 && v < 3045000);
  if (v != 0 && !fixed) {
    return with(
        d,
        fmt::format("the application's SQLite {}.{}.{} can lose commits when several processes checkpoint",
                    v / 1000000, v / 1000 % 1000, v % 1000),
        "update SQLite to 3.51.3 or later; the capture detects and reports the damage");
  }
  return d;
}

}  // namespace understudy::capture
