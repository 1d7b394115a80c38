#pragma once

// The copies of one server and the streams that keep them in step.
//
// Threads: all functions but the snapshots are for one thread at a time (the server's worker) and may block
// for as long as a disk needs. Snapshots (const): any thread. `on_change` comes on stream threads and must
// only post onwards.

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/server/copy_caretaker.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/daily_copy.hpp"
#include "agent-failover/store/state_store.hpp"
#include "understudy/v1/server.pb.h"

namespace grpc {
class Channel;
}
namespace understudy::history {
class keeper;
}
namespace understudy::files {
class file_feed;
}
namespace understudy::os {
class file_system;
}

namespace understudy::server {

class database_lane;
class file_lane;
class stream_lane;
class tables_lane;

// What shall run.
struct streams_wanted {
  bool databases = false;
  bool files = false;
  bool generation = false;  // a new generation of the databases is to be made
  bool tables = false;      // the named tables of mode `configuration`
  friend bool operator==(const streams_wanted&, const streams_wanted&) = default;
};

class replication {
 public:
  replication(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec,
              std::function<void()> on_change);
  ~replication();

  // Who keeps the past of the databases' copies; null: nobody.
  void keep_history(history::keeper* keeper);
  // Who is told what was applied to the file trees. Before open().
  void tell_file_changes(const std::shared_ptr<files::file_feed>& feed);

  // Makes the directories, makes good what a crash left of a new generation, and opens every copy that is
  // there.
  absl::Status open();

  // `spec` is this server's with other databases that its agent found: streams begin for what was added, and
  // end for what is no longer there; all others go on. No new generation is under way.
  absl::Status adopt(const v1::ServerSpec& spec, history::keeper* keeper);

  // Starts what is wanted and not running, with back-off after a failure; stops what is not wanted. A new
  // generation that is ready takes the copies' place here, and is made once: until it is no longer wanted.
  void keep(const std::shared_ptr<grpc::Channel>& channel, streams_wanted wanted);
  // Ends every stream; what was received whole is durable on return.
  void stop();
  // Feeds databases that rest between two daily copies until they are in step, so that what is fetched once
  // the primary's application is down is little. Others are in step, or no takeover would be planned.
  absl::Status catch_up(const std::shared_ptr<grpc::Channel>& channel, std::chrono::milliseconds timeout,
                        const std::function<bool()>& given_up);
  // Asks every stream for its planned end and waits for it: the copies then hold everything that the primary
  // committed. kDeadlineExceeded names the ones that did not get there.
  // Resting databases are fed over `channel`; without one they stay as they are, but for the tables named.
  absl::Status drain(std::chrono::milliseconds timeout,
                     const std::shared_ptr<grpc::Channel>& channel = nullptr);

  // The images as they are, with the time of the last durable commit. Streams are stopped.
  absl::StatusOr<std::vector<store::freeze_row>> registers();
  // Every database is there, and its register is what the freeze recorded.
  absl::Status verify(const std::vector<store::freeze_row>& frozen);
  // Folds everything and lets go of the files: the stand-in opens plain databases.
  absl::Status release_to_stand_in();
  // Takes the copies back after the stand-in ended, with what it wrote.
  absl::Status take_back();
  // Moves everything that the copy holds, the stand-in's own data included, to set-aside/ and begins with
  // nothing. Returns the directory. Repeated after a crash, it moves what is there then, which is harmless.
  absl::StatusOr<std::string> set_copy_aside();
  // Compares every copy with the primary now: streams are restarted, which begins with a comparison of
  // hashes.
  void verify_with_primary();

  // Reads the copies again, and has the agent read the primary's files: see copy_caretaker. Any thread.
  copy_caretaker& caretaker() { return caretaker_; }

  // How far the new generation is.
  daily_state daily() const { return daily_.state(); }
  // Daily replications up to then are done (or from before the server was added); none before open().
  std::optional<std::chrono::system_clock::time_point> daily_done() const;
  void note_daily_done(std::chrono::system_clock::time_point time);

  std::vector<v1::CopyStatus> databases() const;
  std::vector<v1::CopyStatus> files() const;
  // True: every database and file tree has been in step once, so that a takeover has something to stand on;
  // databases that the agent found by itself do not count, nor those that are copied for the first time.
  bool complete() const;
  // Databases that have not been in step yet.
  std::set<std::string> without_copy() const;
  // Moves what a stand-in made of these databases to set-aside/`name`. There is no copy of them then, which
  // is no loss. May be repeated, however far it came.
  absl::Status set_aside(const std::set<std::string>& catalogs, const std::string& name);
  // Those of them that people named, on a server that was protected without them: a takeover goes without
  // them, and a planned one is not begun.
  std::vector<std::string> first_copies() const;
  // Databases that people named and that the primary does not have, by catalog, and what is known of that. Of
  // those at rest: that the newest generation went without.
  std::map<std::string, std::string> missing_there() const;
  // Which copy has no space left on its disk; empty: none, as far as the last attempt told.
  std::string out_of_space() const;
  // When the newest durable commit of any database was seen at the primary.
  std::chrono::system_clock::time_point last_durable_commit() const;

 private:
  using database_lanes = std::vector<std::shared_ptr<database_lane>>;
  using tables_lanes = std::vector<std::shared_ptr<tables_lane>>;

  absl::Status read_daily_done();
  bool at_rest() const;
  std::set<std::string> may_lack() const;
  absl::Status switch_over();
  void hand_over_tables();
  void look_for_first_copies();
  void note_first_copies();
  std::shared_ptr<database_lane> lane_for(const v1::DatabaseSpec& database) const;
  void add_tables(const v1::DatabaseSpec& database, const std::shared_ptr<database_lane>& copy,
                  tables_lanes& to) const;
  // As they are now: adopt() puts others in their place.
  database_lanes database_lanes_now() const;
  tables_lanes tables_lanes_now() const;
  std::vector<std::shared_ptr<stream_lane>> all() const;  // of databases and files, in this order

  os::file_system& fs_;
  const copy_layout layout_;
  const std::string name_;
  const v1::ReplicationMode mode_;
  const std::string daily_at_;
  const std::function<void()> on_change_;
  v1::ServerSpec spec_;          // the worker's
  mutable std::mutex changing_;  // guards what stands in the next three, which the worker alone changes
  database_lanes databases_;     // in the order of spec_
  tables_lanes tables_;          // of mode `configuration`, where tables are named
  std::map<std::string, std::string> without_;  // of the newest generation
  std::vector<std::shared_ptr<file_lane>> files_;
  std::atomic<std::int64_t> daily_done_ms_{0};  // Unix; 0: not read yet
  daily_copy daily_;
  copy_caretaker caretaker_;  // ends before the lanes do
};

}  // namespace understudy::server
