#pragma once

// One database's copy and the stream that feeds it. Threads: as replication.

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

namespace understudy::os {
class file_system;
}
namespace understudy::replica {
class database_copy;
}

namespace understudy::server {

class database_lane final : public stream_lane {
 public:
  // `place`: absolute path of the copy.
  database_lane(os::file_system& fs, std::string server, std::string catalog, std::string place,
                std::function<void()> on_change);
  ~database_lane() override;

  absl::Status open() override;
  absl::Status release() override;
  absl::Status take_back();
  void close() override;
  absl::StatusOr<store::freeze_row> image();

  v1::CopyStatus status() const override;
  bool complete() const override;
  bool bulk() const override;
  std::chrono::system_clock::time_point last_durable_commit() const;

 private:
  absl::Status ready() override { return take_back(); }
  std::unique_ptr<line> connect(const std::shared_ptr<grpc::Channel>& channel) override;
  void begun() override;
  void say_behind(v1::CopyStatus& status) const;

  os::file_system& fs_;
  const std::string place_;
  std::shared_ptr<replica::database_copy> copy_;
  bool released_ = false;  // to the stand-in

  // Under the mutex.
  channel::database_progress progress_;
  bool exists_ = false;
  std::chrono::system_clock::time_point last_durable_commit_;
  std::uint64_t durable_before_ = 0;  // of earlier streams of this process
  std::uint64_t heals_before_ = 0;
  // The copy contained everything that the primary had committed then, by our clock. Zero: not known.
  std::chrono::system_clock::time_point in_step_at_;
};

}  // namespace understudy::server
