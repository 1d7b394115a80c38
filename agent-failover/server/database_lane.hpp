#pragma once

// One database's copy and the stream that feeds it. Threads: as replication.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/store/state_store.hpp"
#include "common/channel/database_progress.hpp"
#include "understudy/v1/server.pb.h"

namespace grpc {
class Channel;
}
namespace understudy::os {
class file_system;
}
namespace understudy::channel {
class database_stream;
}
namespace understudy::replica {
class database_copy;
}

namespace understudy::server {

class database_lane {
 public:
  // `place`: absolute path of the copy.
  database_lane(os::file_system& fs, std::string server, std::string catalog, std::string place,
                std::function<void()> on_change);
  ~database_lane();

  absl::Status open();
  void start(const std::shared_ptr<grpc::Channel>& channel);
  void stop();
  bool running() const;
  // Not before the back-off after the last failure is over.
  bool may_start(std::chrono::steady_clock::time_point now) const;
  void drain();
  bool drained() const;

  absl::StatusOr<store::freeze_row> image();
  absl::Status release();
  absl::Status take_back();
  // Lets go of the copy, which is about to be moved away.
  void close();

  const std::string& catalog() const { return catalog_; }
  v1::CopyStatus status() const;
  bool complete() const;
  bool bulk() const;
  std::chrono::system_clock::time_point last_durable_commit() const;

 private:
  os::file_system& fs_;
  const std::string server_;
  const std::string catalog_;
  const std::string place_;
  const std::function<void()> on_change_;
  std::shared_ptr<replica::database_copy> copy_;
  std::unique_ptr<channel::database_stream> stream_;

  mutable std::mutex mutex_;  // guards what follows: written by stream threads, read by status
  channel::database_progress progress_;
  bool running_ = false;
  bool released_ = false;  // to the stand-in
  bool exists_ = false;
  absl::Status last_end_;
  std::chrono::steady_clock::time_point failed_at_;
  int failures_ = 0;
  std::chrono::system_clock::time_point last_durable_commit_;
  std::uint64_t durable_before_ = 0;  // of earlier streams of this process
  std::uint64_t heals_before_ = 0;
  std::chrono::steady_clock::time_point not_in_step_since_ = std::chrono::steady_clock::now();
};

}  // namespace understudy::server
