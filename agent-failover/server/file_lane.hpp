#pragma once

// One file tree's copy and the stream that feeds it. Threads: as replication.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "agent-failover/server/copy_layout.hpp"
#include "common/files/files_progress.hpp"
#include "understudy/v1/server.pb.h"

namespace grpc {
class Channel;
}
namespace understudy::os {
class file_system;
}
namespace understudy::files {
class files_stream;
class file_tree_sink;
}  // namespace understudy::files

namespace understudy::server {

class file_lane {
 public:
  // `index`: which of the server's file trees, and of the agent's.
  file_lane(os::file_system& fs, const v1::ServerSpec& spec, std::uint32_t index, const copy_layout& layout,
            std::function<void()> on_change);
  ~file_lane();

  absl::Status open();
  void start(const std::shared_ptr<grpc::Channel>& channel);
  void stop();
  bool running() const;
  bool may_start(std::chrono::steady_clock::time_point now) const;
  void drain();
  bool drained() const;

  // Before the stand-in may write to the tree.
  absl::Status release();
  // Lets go of the copy, which is about to be moved away.
  void close();

  const std::string& base() const { return base_; }
  v1::CopyStatus status() const;
  bool complete() const;
  bool bulk() const;

 private:
  os::file_system& fs_;
  const std::string server_;
  const v1::FileSelection selection_;
  const std::string base_;
  const std::uint32_t index_;
  const copy_layout layout_;
  const std::function<void()> on_change_;
  std::shared_ptr<files::file_tree_sink> sink_;
  std::unique_ptr<files::files_stream> stream_;

  mutable std::mutex mutex_;  // guards what follows
  files::files_progress progress_;
  bool running_ = false;
  bool complete_ = false;  // was in step once
  absl::Status last_end_;
  std::chrono::steady_clock::time_point failed_at_;
  int failures_ = 0;
  std::uint64_t durable_before_ = 0;
  std::chrono::steady_clock::time_point not_in_step_since_ = std::chrono::steady_clock::now();
};

}  // namespace understudy::server
