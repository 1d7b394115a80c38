#pragma once

// Looks after the copies of one server's databases while nobody else has to do with them, on a thread of its
// own with the lowest I/O priority that is served at all (what it reads it reads under the copy's mutex,
// which a commit waits for): folds their logs when the streams are quiet, and reads every page again, the
// whole copy once a day or faster, against the hashes that the primary stands for. A page that reads back
// otherwise is disowned, so that the next comparison with the primary brings it again, and told.
//
// Threads: any.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace understudy::server {

class database_lane;

struct caretaker_options {
  std::uint64_t least_bytes_per_second = 1 << 20;   // so that a small copy is read several times a day
  std::chrono::seconds least_between_passes{3600};  // over one copy; each reads its whole log at once
  std::uint64_t large_log = 64 << 20;  // bytes of a -wal that is folded at 4 MiB: somebody is in the way
  std::uint64_t whole_copy_seconds = 24 * 3600;  // a large one once in this time
};

// What verify() found out about one database.
struct verified_database {
  std::string catalog;
  std::uint64_t pages_here = 0;       // read again from the disk of this host
  std::uint64_t different_here = 0;   // of them, not as they were received
  std::uint64_t pages_there = 0;      // that the agent read from the primary's file
  std::uint64_t different_there = 0;  // pages of the primary's file that are not as they were last committed
  bool gone_there = false;            // a database that was found is not on the primary now: nothing to read
  std::string problem{};              // why a side could not be read; empty: both were
};
// "ctserver: 1024 pages here and 1024 on the primary read again, 3 differed here".
std::string in_words(const verified_database& found);

class copy_caretaker {
 public:
  using database_lanes = std::vector<std::shared_ptr<database_lane>>;

  // `lanes`: those that there are now; asked again and again, by a thread of its own.
  copy_caretaker(std::string server, std::function<database_lanes()> lanes, std::function<void()> on_change,
                 caretaker_options options = {});
  ~copy_caretaker();

  // Reads every copy again, now and as fast as the disk permits, and has the agent do the same with the
  // primary's files. One at a time; a later one begins anew.
  void verify(std::shared_ptr<grpc::Channel> agent);
  // Ends a verification that runs; its result is then not wanted.
  void cancel();
  bool verifying() const;
  // Of the last verification that ended, once; empty: none has.
  std::vector<verified_database> take_verified();
  // What the pass in the background came upon since the last call, in words: pages that differ, and what
  // could not be read (once, until a pass ends without).
  std::vector<std::string> take_divergences();
  // Logs that grow because they cannot be folded, and who is in the way; each once, until it was folded.
  std::vector<std::string> take_large_logs();

 private:
  void run();
  void fold_what_is_due(const database_lanes& lanes);
  // Reads on for about `bytes`.
  void read_on(const database_lanes& lanes, std::uint64_t bytes);
  absl::StatusOr<std::uint64_t> scrub(database_lane& lane, std::uint32_t first, std::uint32_t pages,
                                      std::uint64_t& different);
  void tell(std::vector<std::string>& to, const std::string& text);
  void verify_all(std::uint64_t serial, const std::shared_ptr<grpc::Channel>& agent);
  void ask_agent(const std::shared_ptr<grpc::Channel>& agent, std::uint64_t serial, bool may_be_missing,
                 verified_database& found);
  bool wanted(std::uint64_t serial) const;

  const std::string server_;
  const std::function<database_lanes()> lanes_;
  const std::function<void()> on_change_;
  const caretaker_options options_;
  struct pass {
    std::optional<std::chrono::steady_clock::time_point> begun{};
    bool failed = false;    // something of it could not be read
    bool told = false;      // and that was said
    bool log_told = false;  // that its log grows
  };
  std::map<std::string, pass> passes_;  // by catalog
  std::size_t lane_ = 0;                // where the pass is, and of what; both, for lanes come and go
  std::string reading_;
  std::uint32_t next_page_ = 1;  // of that lane

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable woken_;
  bool stopping_ = false;
  std::uint64_t asked_ = 0;  // serial of the verification wanted; 0: none
  std::uint64_t serial_ = 0;
  std::shared_ptr<grpc::Channel> agent_;
  grpc::ClientContext* asking_ = nullptr;
  std::vector<verified_database> verified_;
  std::vector<std::string> divergences_;
  std::vector<std::string> large_logs_;
  std::thread thread_;
};

}  // namespace understudy::server
