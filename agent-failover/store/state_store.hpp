#pragma once

// state.db: everything the failover host must know after a power cut. SQLite in WAL mode with
// synchronous=FULL, one writer (the journal actor); commit() returns after the fsync.
//
//   server        name, configuration (protobuf), etag
//   machine       server, state of its state machine (policy text), since: never behind what was done
//   intent        server, epoch, step, begun, ended, outcome: written before the step's side effect
//   freeze_point  server, catalog: the image at takeover, by which a returned primary's data is judged
//   event         id, at, server, kind, severity, text, actor
//   log           the live log, bounded
//   setting       one row
//   meta          boot id of this host, of each agent
//
// Threads: any; a reader waits while a commit is under way.

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sqlite/page_hash.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::sqlite {
class database;
}

namespace understudy::store {

using wall_time = std::chrono::system_clock::time_point;

struct machine_row {
  std::string server;
  std::string state;  // policy::encode
  wall_time since;    // when the shown state began
};

// A step of a takeover or failback that is about to run, or has run.
struct intent_row {
  std::string server;
  std::uint64_t epoch = 0;
  std::string step;  // "TakingOver(start_application)"
  bool ended = false;
  std::string outcome;  // "ok" or the reason of its failure; empty while it runs
  wall_time at{};       // when it was written; commit() sets it
};

struct freeze_row {
  std::string server;
  std::string catalog;
  std::uint32_t page_size = 0;
  std::uint32_t pages = 0;
  sqlite::page_hash hash;
  wall_time durable_captured_at;  // of the last durable commit
};

// The boot id that a server's agent last reported: another one means that the primary was reset.
struct agent_boot_row {
  std::string server;
  std::string boot_id;
};

// What one commit writes, all or nothing.
struct changes {
  std::optional<v1::ServerSpec> put_server;
  std::optional<std::string> remove_server;
  std::optional<v1::Settings> settings;
  std::vector<machine_row> machines;
  std::vector<intent_row> intents;
  std::vector<freeze_row> freezes;
  std::vector<v1::Event> events;  // ids are assigned by commit()
  std::vector<v1::LogLine> log;
  std::optional<std::string> boot_id;
  std::vector<agent_boot_row> agent_boots;
};

class state_store {
 public:
  // Creates or opens `path`. kFailedPrecondition: written by a newer version. kDataLoss: not a database of
  // ours.
  static absl::StatusOr<std::unique_ptr<state_store>> open(const std::string& path,
                                                           const char* vfs = nullptr);
  ~state_store();

  // Durable on return; event ids are filled in.
  absl::Status commit(changes& what);

  absl::StatusOr<std::vector<v1::ServerSpec>> servers();
  absl::StatusOr<v1::Settings> settings();
  absl::StatusOr<std::vector<machine_row>> machines();
  absl::StatusOr<std::vector<freeze_row>> freezes(const std::string& server);
  // The newest intents of a server, oldest first: a row when a step begins, and one when it ends.
  absl::StatusOr<std::vector<intent_row>> intents(const std::string& server, std::uint32_t limit);
  // Of the events after `after` the newest `limit`, or the oldest; in either case oldest first.
  enum class which { newest, oldest };
  absl::StatusOr<std::vector<v1::Event>> events(const std::string& server, std::uint64_t after,
                                                std::uint32_t limit, which of = which::newest);
  absl::StatusOr<std::vector<v1::LogLine>> log(std::uint32_t limit);
  absl::StatusOr<std::string> boot_id();                              // of the last run; empty at the first
  absl::StatusOr<std::string> agent_boot(const std::string& server);  // empty: never reported

 private:
  explicit state_store(std::unique_ptr<sqlite::database> db);
  absl::Status write(changes& what);
  absl::Status put_meta(std::string_view key, std::string_view value);
  absl::StatusOr<std::string> meta(std::string_view key);
  std::mutex mutex_;
  std::unique_ptr<sqlite::database> db_;
};

}  // namespace understudy::store
