#pragma once

// The receiving end of one file tree: applies what a source sends to a copy on disk. On the failover host
// while it protects; on the primary at failback. Used by one thread at a time; what comes from the wire is
// checked here.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/copy_place.hpp"
#include "agent-failover/replica/tree/sink_memory.hpp"
#include "common/os/file_system.hpp"

namespace understudy::v1 {
class FileChange;
class FileChunk;
class FileRefusal;
}  // namespace understudy::v1

namespace understudy::files {

class file_tree_sink {
 public:
  // Sweeps what an earlier run left in staging. `fs` outlives it.
  static absl::StatusOr<std::unique_ptr<file_tree_sink>> open(os::file_system& fs, tree_sink_options options);

  const selection& what() const { return options_.what; }
  bool owners_kept() const { return place_->owners_kept; }
  bool attributes_kept() const { return place_->attributes_kept; }
  files::trash& trash() { return *place_->trash; }

  // Everything in the copy that is selected, the base first, parents before what is in them; without digests.
  absl::Status scan(const std::function<void(entry&&)>& visit);
  // Of a regular file as it is now; nothing for anything else.
  std::optional<digest> digest_of(std::string_view path);

  absl::Status add_chunk(const v1::FileChunk& chunk);
  // Applies in order. Ok: what is not in `refusals` is durable. Otherwise the stream must end and begin anew.
  absl::Status apply(std::span<const v1::FileChange> changes, std::vector<v1::FileRefusal>& refusals);
  // Forgets uploads under way: a stream ended.
  void abandon_uploads() { place_->staging->abandon_uploads(); }

  const sink_memory& memory() const { return memory_; }
  // Durable on return.
  absl::Status remember(epoch_ns in_step_until, std::string root);
  // Before anybody else may write to the copy (a takeover, a restore from the trash): from then on nothing
  // that a source knows of this copy holds, and the next stream compares contents wherever there is a doubt.
  absl::Status forget();

 private:
  file_tree_sink(tree_sink_options options, std::unique_ptr<copy_place> place, sink_memory memory)
      : options_(std::move(options)), place_(std::move(place)), memory_(std::move(memory)) {}

  tree_sink_options options_;
  std::unique_ptr<copy_place> place_;
  sink_memory memory_;
};

}  // namespace understudy::files
