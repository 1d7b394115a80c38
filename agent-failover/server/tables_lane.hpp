#pragma once

// The named tables of one database in mode `configuration`, on their way into its copy, which is otherwise at
// rest between two daily copies. Threads: as replication.

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/server/database_lane.hpp"
#include "agent-failover/server/stream_lane.hpp"
#include "common/channel/database_progress.hpp"

namespace understudy::tables {
class table_sink;
}

namespace understudy::server {

class tables_lane final : public stream_lane {
 public:
  // `copy`: the lane of the database; its own stream does not run meanwhile.
  tables_lane(std::string server, std::shared_ptr<database_lane> copy, std::vector<std::string> tables,
              std::function<void()> on_change);
  ~tables_lane() override;

  absl::Status open() override { return absl::OkStatus(); }
  // From here on the copy is the stand-in's, and what is known of the primary's tables is forgotten.
  absl::Status release() override;
  void close() override { (void)release(); }
  v1::CopyStatus status() const override;
  bool complete() const override { return true; }

  // Of a new generation that is verified, synced and nobody's yet: brings its tables to where they are in the
  // copy in use, unless nothing was acknowledged since `begun`, when it began: it is newer then. What an
  // operator was told to be durable is so across the exchange. The lanes' streams are stopped. An error
  // leaves the file as it may be.
  absl::Status merge_into(os::directory& next, const std::string& file, finished_image& image,
                          std::chrono::steady_clock::time_point begun);
  // The stream is stopped, and something newer was put into the copy, or in its place.
  void copy_changed();

  std::chrono::system_clock::time_point last_durable_commit() const;
  const database_lane& copy() const { return *copy_; }

 private:
  absl::Status ready() override;
  std::unique_ptr<line> connect(const std::shared_ptr<grpc::Channel>& channel) override;
  void begun() override;
  void forget();

  const std::shared_ptr<database_lane> copy_;
  const std::vector<std::string> tables_;
  std::shared_ptr<replica::guarded_copy> fed_;             // by sink_
  std::shared_ptr<tables::table_sink> sink_;               // the stream's while it runs
  std::chrono::steady_clock::time_point acknowledged_at_;  // by earlier ones of it

  // Under the mutex.
  channel::database_progress progress_;
  std::chrono::system_clock::time_point last_durable_commit_;
  std::chrono::system_clock::time_point in_step_at_;  // as in database_lane
  struct figures {
    std::uint64_t durable = 0;
    std::uint64_t heals = 0;
    std::uint64_t received_bytes = 0;
    std::uint64_t saved_bytes = 0;
    std::uint64_t saved_transactions = 0;
  };
  figures before_;  // of earlier streams of this process
  figures now_;     // of this one
};

}  // namespace understudy::server
