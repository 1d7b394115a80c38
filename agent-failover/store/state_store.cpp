#include "agent-failover/store/state_store.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "common/sqlite/database.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::store {
namespace {

constexpr int schema_version = 1;
constexpr std::int64_t application_id = 0x55736479;  // "Usdy", in the file's header: it is ours
constexpr int kept_log_lines = 20000;                // some megabytes
constexpr int kept_events = 200000;                  // years of an ordinary host
constexpr int kept_intents = 10000;

constexpr char schema[] = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE server(name TEXT PRIMARY KEY, spec BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE setting(id INTEGER PRIMARY KEY CHECK(id = 1), settings BLOB NOT NULL);
CREATE TABLE machine(server TEXT PRIMARY KEY, state TEXT NOT NULL, since_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE intent(id INTEGER PRIMARY KEY, server TEXT NOT NULL, epoch INTEGER NOT NULL, step TEXT NOT NULL,
                    ended INTEGER NOT NULL, outcome TEXT NOT NULL, at_ms INTEGER NOT NULL);
CREATE INDEX intent_by_server ON intent(server, id);
CREATE TABLE freeze_point(server TEXT NOT NULL, catalog TEXT NOT NULL, page_size INTEGER NOT NULL,
                          pages INTEGER NOT NULL, high INTEGER NOT NULL, low INTEGER NOT NULL,
                          durable_captured_ns INTEGER NOT NULL, PRIMARY KEY(server, catalog)) WITHOUT ROWID;
CREATE TABLE event(id INTEGER PRIMARY KEY, server TEXT NOT NULL, event BLOB NOT NULL);
CREATE INDEX event_by_server ON event(server, id);
CREATE TABLE log(id INTEGER PRIMARY KEY, line BLOB NOT NULL);
)sql";

std::int64_t milliseconds_of(wall_time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::int64_t nanoseconds_of(wall_time time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

wall_time time_of_ns(std::int64_t ns) {
  return wall_time(std::chrono::duration_cast<wall_time::duration>(std::chrono::nanoseconds(ns)));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

template <class Message>
absl::Status parse(const sqlite::statement& row, int column, Message& message) {
  const auto blob = row.column_blob(column);
  if (message.ParseFromArray(blob.data(), static_cast<int>(blob.size()))) return absl::OkStatus();
  return absl::DataLossError("state.db holds a record that cannot be read: restore it from a backup");
}

absl::StatusOr<std::int64_t> number_of(sqlite::database& db, const char* question) {
  UNDERSTUDY_ASSIGN_OR_RETURN(sqlite::statement row, db.prepare(question));
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool there, row.step());
  return there ? row.column_integer(0) : 0;
}

std::string agent_boot_key(const std::string& server) {
  return "agent_boot/" + server;
}

// The same error, naming the file and what to do.
absl::Status unusable(const std::string& path, const absl::Status& status) {
  const char* remedy =
      absl::IsDataLoss(status) ? ": it is damaged; restore it from a backup, or move it "
                                 "away to begin with nothing"
      : absl::IsUnavailable(status)
          ? ": another understudyd runs with this data directory; stop it, or give this one another data_dir"
          : "";
  return absl::Status(status.code(),
                      fmt::format("{} cannot be opened ({}){}", path, message_of(status), remedy));
}

}  // namespace

state_store::state_store(std::unique_ptr<sqlite::database> db) : db_(std::move(db)) {}
state_store::~state_store() = default;

absl::StatusOr<std::unique_ptr<state_store>> state_store::open(const std::string& path, const char* vfs) {
  auto opened = sqlite::database::open(path, {.vfs = vfs != nullptr ? vfs : ""});
  if (!opened.ok()) return unusable(path, opened.status());
  auto db = std::make_unique<sqlite::database>(*std::move(opened));
  // The lock is taken for good: one daemon per data directory, and no shared memory is needed.
  if (absl::Status locked = db->execute("PRAGMA locking_mode=EXCLUSIVE"); !locked.ok())
    return unusable(path, locked);
  // Looked at before anything is written: a file that is not ours is left as it is.
  auto version = number_of(*db, "PRAGMA user_version");
  if (!version.ok()) return unusable(path, version.status());
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::int64_t application, number_of(*db, "PRAGMA application_id"));
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::int64_t tables,
                              number_of(*db, "SELECT count(*) FROM sqlite_master"));
  const bool fresh = *version == 0 && application == 0 && tables == 0;
  if (!fresh && application != application_id) {
    return absl::DataLossError(
        fmt::format("{} is a database, but not one of understudyd: move it out of the way", path));
  }
  if (*version > schema_version) {
    return absl::FailedPreconditionError(fmt::format(
        "{} was written by a newer version of understudyd (schema {}, this one knows {}): run that version",
        path, *version, schema_version));
  }
  // WAL first: it cannot be changed within a transaction.
  if (absl::Status set = db->execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"); !set.ok())
    return unusable(path, set);
  if (fresh) {
    UNDERSTUDY_ASSIGN_OR_RETURN(sqlite::transaction transaction, sqlite::transaction::start(*db));
    UNDERSTUDY_RETURN_IF_ERROR(db->execute(schema));
    UNDERSTUDY_RETURN_IF_ERROR(db->execute(
        fmt::format("PRAGMA application_id={}; PRAGMA user_version={}", application_id, schema_version)));
    UNDERSTUDY_RETURN_IF_ERROR(transaction.commit());
  }
  return std::unique_ptr<state_store>(new state_store(std::move(db)));
}

absl::Status state_store::commit(changes& what) {
  std::lock_guard lock(mutex_);
  UNDERSTUDY_ASSIGN_OR_RETURN(sqlite::transaction transaction, sqlite::transaction::start(*db_));
  UNDERSTUDY_RETURN_IF_ERROR(write(what));
  return transaction.commit();
}

absl::Status state_store::write(changes& what) {
  if (what.put_server) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto put, db_->prepare("INSERT OR REPLACE INTO server VALUES(?1, ?2)"));
    const std::string spec = what.put_server->SerializeAsString();
    UNDERSTUDY_RETURN_IF_ERROR(
        put.bind(1, std::string_view(what.put_server->name())).bind(2, bytes_of(spec)).run());
  }
  if (what.remove_server) {
    for (const char* sql :
         {"DELETE FROM server WHERE name=?1", "DELETE FROM machine WHERE server=?1",
          "DELETE FROM intent WHERE server=?1", "DELETE FROM freeze_point WHERE server=?1"}) {
      UNDERSTUDY_ASSIGN_OR_RETURN(auto remove, db_->prepare(sql));
      UNDERSTUDY_RETURN_IF_ERROR(remove.bind(1, std::string_view(*what.remove_server)).run());
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(auto forget, db_->prepare("DELETE FROM meta WHERE key=?1"));
    const std::string key = agent_boot_key(*what.remove_server);
    UNDERSTUDY_RETURN_IF_ERROR(forget.bind(1, std::string_view(key)).run());
  }
  if (what.settings) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto put, db_->prepare("INSERT OR REPLACE INTO setting VALUES(1, ?1)"));
    const std::string settings = what.settings->SerializeAsString();
    UNDERSTUDY_RETURN_IF_ERROR(put.bind(1, bytes_of(settings)).run());
  }
  for (const auto& machine : what.machines) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto put, db_->prepare("INSERT OR REPLACE INTO machine VALUES(?1, ?2, ?3)"));
    UNDERSTUDY_RETURN_IF_ERROR(put.bind(1, std::string_view(machine.server))
                                   .bind(2, std::string_view(machine.state))
                                   .bind(3, milliseconds_of(machine.since))
                                   .run());
  }
  for (const auto& intent : what.intents) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto put,
                                db_->prepare("INSERT INTO intent(server, epoch, step, ended, outcome, at_ms) "
                                             "VALUES(?1, ?2, ?3, ?4, ?5, ?6)"));
    UNDERSTUDY_RETURN_IF_ERROR(put.bind(1, std::string_view(intent.server))
                                   .bind(2, static_cast<std::int64_t>(intent.epoch))
                                   .bind(3, std::string_view(intent.step))
                                   .bind(4, std::int64_t{intent.ended})
                                   .bind(5, std::string_view(intent.outcome))
                                   .bind(6, milliseconds_of(std::chrono::system_clock::now()))
                                   .run());
    UNDERSTUDY_RETURN_IF_ERROR(
        db_->execute(fmt::format("DELETE FROM intent WHERE id <= last_insert_rowid() - {}", kept_intents)));
  }
  for (const auto& freeze : what.freezes) {
    UNDERSTUDY_ASSIGN_OR_RETURN(
        auto put, db_->prepare("INSERT OR REPLACE INTO freeze_point VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
    UNDERSTUDY_RETURN_IF_ERROR(put.bind(1, std::string_view(freeze.server))
                                   .bind(2, std::string_view(freeze.catalog))
                                   .bind(3, std::int64_t{freeze.page_size})
                                   .bind(4, std::int64_t{freeze.pages})
                                   .bind(5, static_cast<std::int64_t>(freeze.hash.high))
                                   .bind(6, static_cast<std::int64_t>(freeze.hash.low))
                                   .bind(7, nanoseconds_of(freeze.durable_captured_at))
                                   .run());
  }
  for (auto& event : what.events) {
    // The id is given in the record itself, so that a reader has it whole.
    UNDERSTUDY_ASSIGN_OR_RETURN(auto next, db_->prepare("SELECT coalesce(max(id), 0) + 1 FROM event"));
    UNDERSTUDY_RETURN_IF_ERROR(next.step().status());
    event.set_id(static_cast<std::uint64_t>(next.column_integer(0)));
    UNDERSTUDY_ASSIGN_OR_RETURN(auto put, db_->prepare("INSERT INTO event VALUES(?1, ?2, ?3)"));
    const std::string record = event.SerializeAsString();
    UNDERSTUDY_RETURN_IF_ERROR(put.bind(1, static_cast<std::int64_t>(event.id()))
                                   .bind(2, std::string_view(event.server()))
                                   .bind(3, bytes_of(record))
                                   .run());
    UNDERSTUDY_RETURN_IF_ERROR(db_->execute(fmt::format(
        "DELETE FROM event WHERE id <= {}", static_cast<std::int64_t>(event.id()) - kept_events)));
  }
  for (const auto& line : what.log) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto put, db_->prepare("INSERT INTO log(line) VALUES(?1)"));
    const std::string record = line.SerializeAsString();
    UNDERSTUDY_RETURN_IF_ERROR(put.bind(1, bytes_of(record)).run());
  }
  if (!what.log.empty()) {
    UNDERSTUDY_RETURN_IF_ERROR(db_->execute(
        fmt::format("DELETE FROM log WHERE id <= (SELECT max(id) FROM log) - {}", kept_log_lines)));
  }
  if (what.boot_id) UNDERSTUDY_RETURN_IF_ERROR(put_meta("boot_id", *what.boot_id));
  for (const auto& boot : what.agent_boots)
    UNDERSTUDY_RETURN_IF_ERROR(put_meta(agent_boot_key(boot.server), boot.boot_id));
  return absl::OkStatus();
}

absl::Status state_store::put_meta(std::string_view key, std::string_view value) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto put, db_->prepare("INSERT OR REPLACE INTO meta VALUES(?1, ?2)"));
  return put.bind(1, key).bind(2, value).run();
}

absl::StatusOr<std::string> state_store::meta(std::string_view key) {
  std::lock_guard lock(mutex_);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT value FROM meta WHERE key=?1"));
  row.bind(1, key);
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool there, row.step());
  if (!there) return std::string();
  return std::string(row.column_text(0));
}

absl::StatusOr<std::vector<v1::ServerSpec>> state_store::servers() {
  std::lock_guard lock(mutex_);
  std::vector<v1::ServerSpec> all;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto rows, db_->prepare("SELECT spec FROM server ORDER BY name"));
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) return all;
    UNDERSTUDY_RETURN_IF_ERROR(parse(rows, 0, all.emplace_back()));
  }
}

absl::StatusOr<v1::Settings> state_store::settings() {
  std::lock_guard lock(mutex_);
  v1::Settings settings;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto row, db_->prepare("SELECT settings FROM setting"));
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool there, row.step());
  if (there) UNDERSTUDY_RETURN_IF_ERROR(parse(row, 0, settings));
  return settings;
}

absl::StatusOr<std::vector<machine_row>> state_store::machines() {
  std::lock_guard lock(mutex_);
  std::vector<machine_row> all;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto rows, db_->prepare("SELECT server, state, since_ms FROM machine"));
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) return all;
    all.push_back({.server = std::string(rows.column_text(0)),
                   .state = std::string(rows.column_text(1)),
                   .since = wall_time(std::chrono::milliseconds(rows.column_integer(2)))});
  }
}

absl::StatusOr<std::vector<freeze_row>> state_store::freezes(const std::string& server) {
  std::lock_guard lock(mutex_);
  std::vector<freeze_row> all;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto rows,
                              db_->prepare("SELECT catalog, page_size, pages, high, low, durable_captured_ns "
                                           "FROM freeze_point WHERE server=?1 ORDER BY catalog"));
  rows.bind(1, std::string_view(server));
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) return all;
    all.push_back({.server = server,
                   .catalog = std::string(rows.column_text(0)),
                   .page_size = static_cast<std::uint32_t>(rows.column_integer(1)),
                   .pages = static_cast<std::uint32_t>(rows.column_integer(2)),
                   .hash = {static_cast<std::uint64_t>(rows.column_integer(3)),
                            static_cast<std::uint64_t>(rows.column_integer(4))},
                   .durable_captured_at = time_of_ns(rows.column_integer(5))});
  }
}

absl::StatusOr<std::vector<intent_row>> state_store::intents(const std::string& server, std::uint32_t limit) {
  std::lock_guard lock(mutex_);
  std::vector<intent_row> all;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto rows, db_->prepare("SELECT epoch, step, ended, outcome, at_ms FROM intent "
                                                      "WHERE server=?1 ORDER BY id DESC LIMIT ?2"));
  rows.bind(1, std::string_view(server)).bind(2, std::int64_t{limit});
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) break;
    all.push_back({.server = server,
                   .epoch = static_cast<std::uint64_t>(rows.column_integer(0)),
                   .step = std::string(rows.column_text(1)),
                   .ended = rows.column_integer(2) != 0,
                   .outcome = std::string(rows.column_text(3)),
                   .at = wall_time(std::chrono::milliseconds(rows.column_integer(4)))});
  }
  std::reverse(all.begin(), all.end());
  return all;
}

absl::StatusOr<std::vector<v1::Event>> state_store::events(const std::string& server, std::uint64_t after,
                                                           std::uint32_t limit, which of) {
  std::lock_guard lock(mutex_);
  std::vector<v1::Event> all;
  UNDERSTUDY_ASSIGN_OR_RETURN(
      auto rows,
      db_->prepare(fmt::format("SELECT event FROM event WHERE id > ?1 AND (?2 = '' OR server = ?2) "
                               "ORDER BY id {} LIMIT ?3",
                               of == which::newest ? "DESC" : "ASC")));
  rows.bind(1, static_cast<std::int64_t>(after))
      .bind(2, std::string_view(server))
      .bind(3, std::int64_t{limit});
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) break;
    UNDERSTUDY_RETURN_IF_ERROR(parse(rows, 0, all.emplace_back()));
  }
  if (of == which::newest) std::reverse(all.begin(), all.end());
  return all;
}

absl::StatusOr<std::vector<v1::LogLine>> state_store::log(std::uint32_t limit) {
  std::lock_guard lock(mutex_);
  std::vector<v1::LogLine> all;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto rows, db_->prepare("SELECT line FROM log ORDER BY id DESC LIMIT ?1"));
  rows.bind(1, std::int64_t{limit});
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) break;
    UNDERSTUDY_RETURN_IF_ERROR(parse(rows, 0, all.emplace_back()));
  }
  std::reverse(all.begin(), all.end());
  return all;
}

absl::StatusOr<std::string> state_store::boot_id() {
  return meta("boot_id");
}

absl::StatusOr<std::string> state_store::agent_boot(const std::string& server) {
  return meta(agent_boot_key(server));
}

}  // namespace understudy::store
