#pragma once

// One file tree's copy and the stream that feeds it. Threads: as replication.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/stream_lane.hpp"
#include "common/files/files_progress.hpp"

namespace understudy::os {
class file_system;
}
namespace understudy::files {
class file_feed;
class file_tree_sink;
}  // namespace understudy::files

namespace understudy::server {

class file_lane final : public stream_lane {
 public:
  // `index`: which of the server's file trees, and of the agent's.
  file_lane(os::file_system& fs, const v1::ServerSpec& spec, std::uint32_t index, const copy_layout& layout,
            std::function<void()> on_change);
  ~file_lane() override;

  // Who is told what was applied; null: nobody. Before open().
  void tell_changes(std::shared_ptr<files::file_feed> feed) { feed_ = std::move(feed); }

  // A database of this path is protected from now on. Where nothing kept it out of the tree so far, the
  // stream begins anew.
  void exclude(const std::string& database);

  absl::Status open() override;
  absl::Status release() override;
  void close() override;

  v1::CopyStatus status() const override;
  bool complete() const override;

 private:
  std::unique_ptr<line> connect(const std::shared_ptr<grpc::Channel>& channel) override;
  void begun() override;
  bool at_once(const absl::Status& end) const override { return absl::IsAborted(end); }

  os::file_system& fs_;
  v1::FileSelection selection_;
  const std::uint32_t index_;
  const std::uint64_t limit_;  // bytes per second: this tree's part of the server's
  const copy_layout layout_;
  std::shared_ptr<files::file_feed> feed_;
  std::shared_ptr<files::file_tree_sink> sink_;

  // Under the mutex.
  files::files_progress progress_;
  bool complete_ = false;             // was in step once
  std::uint64_t durable_before_ = 0;  // of earlier streams of this process
};

}  // namespace understudy::server
