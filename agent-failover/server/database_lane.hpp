#pragma once

// One database's copy and the stream that feeds it. Threads: as replication.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/server/stream_lane.hpp"
#include "agent-failover/store/state_store.hpp"
#include "common/channel/database_progress.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::os {
class directory;
class file_system;
}  // namespace understudy::os
namespace understudy::channel {
struct sink_state;
}
namespace understudy::history {
class recorder;
}
namespace understudy::replica {
class guarded_copy;
}

namespace understudy::server {

// A database that was brought in step, verified and let go of: a plain file.
struct finished_image {
  std::uint32_t page_size = 0;
  sqlite::page_hash_array hashes;
  std::chrono::system_clock::time_point durable_captured_at;
};

class database_lane final : public stream_lane {
 public:
  // `place`: absolute path of the copy. `found`: by the agent, not named by people, or else one that its
  // source need not have.
  database_lane(os::file_system& fs, std::string server, std::string catalog, std::string place, bool found,
                std::function<void()> on_change);
  ~database_lane() override;

  // Who keeps the copy's past from its next opening on (an open copy is opened anew); null: nobody.
  void keep_history(std::shared_ptr<history::recorder> history);

  absl::Status open() override;
  absl::Status release() override;
  absl::Status take_back();
  void close() override;
  // The stream is stopped, and no stand-in has the copy.
  absl::StatusOr<store::freeze_row> image();

  // Of the lane that made a new generation: folds the copy, reads it again from the disk, page by page, and
  // lets go of it for good. `go_on` is told how many bytes were read of how many; false ends it (kCancelled).
  absl::StatusOr<finished_image> finish(
      const std::function<bool(std::uint64_t done, std::uint64_t total)>& go_on);
  // Of the lane in use: as in database_copy.
  absl::Status hold_alone();
  void let_in();
  absl::Status exchange(os::directory& from, const std::string& name, finished_image image);

  // For whoever looks after the copy, any thread; null while there is none.
  std::shared_ptr<replica::guarded_copy> held() const;
  // The next keep() begins the stream anew, with a comparison. Any thread.
  void compare_anew() { compare_anew_ = true; }
  void keep(const std::shared_ptr<grpc::Channel>& channel) {
    if (compare_anew_.exchange(false)) stop();
    stream_lane::keep(channel);
  }

  v1::CopyStatus status() const override;
  bool complete() const override;
  // A takeover does not wait for a first copy of it: it was found, or is copied for the first time though the
  // server was protected before.
  bool may_be_missing() const { return found_ || first_copy_; }
  bool was_found() const { return found_; }
  // Why its source has no such database, as far as the stream says; empty: it has one, or nothing is known.
  std::string absent_there() const;
  // Named by people, and has no copy yet: see above. Any thread.
  bool is_first_copy() const { return first_copy_; }
  void set_first_copy(bool first) { first_copy_ = first; }
  // Nothing waits for one that was found and is gone at its source, or never could be captured, nor for a
  // first copy.
  bool is_not_waited_for() const;
  std::chrono::system_clock::time_point last_durable_commit() const;

 private:
  absl::Status ready() override { return take_back(); }
  std::unique_ptr<line> connect(const std::shared_ptr<grpc::Channel>& channel) override;
  void begun() override;
  void let_go();
  void know(const channel::sink_state& state);  // under the mutex
  void say_behind(v1::CopyStatus& status) const;
  bool hopeless() const;
  std::string absence() const;
  bool unheard() const;

  os::file_system& fs_;
  const std::string place_;
  const bool found_;
  std::shared_ptr<history::recorder> history_;
  std::shared_ptr<replica::guarded_copy> copy_;  // changed under the mutex too, for held()
  std::atomic<bool> compare_anew_{false};
  std::atomic<bool> first_copy_{false};
  bool released_ = false;  // to the stand-in

  // Under the mutex.
  channel::database_progress progress_;
  bool exists_ = false;
  std::uint64_t size_bytes_ = 0;  // of the copy, as it was known last
  std::chrono::system_clock::time_point last_durable_commit_;
  std::uint64_t durable_before_ = 0;  // of earlier streams of this process
  std::uint64_t heals_before_ = 0;
  // The copy contained everything that the primary had committed then, by our clock. Zero: not known.
  std::chrono::system_clock::time_point in_step_at_;
};

}  // namespace understudy::server
