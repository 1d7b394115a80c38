#pragma once

// Where the changes of one file stream go. Two of them: file_tree_sink applies them to a copy as they come,
// incoming_tree collects them beside a tree that must not change yet. Used by one thread at a time; what
// comes from the wire is checked here.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/sink_memory.hpp"
#include "common/files/entry.hpp"
#include "common/files/selection.hpp"
#include "common/files/tree_walk.hpp"
#include "common/os/file_system.hpp"

namespace understudy::v1 {
class FileChange;
class FileChunk;
class FileRefusal;
}  // namespace understudy::v1

namespace understudy::files {

// Files that were changed on both sides of a failback.
struct divergence {
  std::size_t count = 0;
  std::vector<std::string> paths;  // the first of them
};

class tree_sink {
 public:
  virtual ~tree_sink() = default;

  virtual const selection& what() const = 0;
  virtual std::uint64_t limit() const { return 0; }  // bytes per second; 0: none
  virtual bool owners_kept() const = 0;
  virtual bool attributes_kept() const = 0;

  // Everything that is there and selected, the base first; without digests.
  virtual absl::Status scan(const std::function<void(entry&&)>& visit) = 0;
  // The same with what identifies the files, and one directory of it ("": the base, and then "." first): only
  // of a sink whose tree lies as it is told.
  virtual bool lies_as_told() const { return false; }
  virtual absl::Status observe_all(const std::function<void(observation&&)>& /*visit*/) {
    return absl::UnimplementedError("it is not told so");
  }
  virtual absl::Status observe_directory(std::string_view /*directory*/,
                                         const std::function<void(observation&&)>& /*visit*/) {
    return absl::UnimplementedError("it is not told so");
  }
  virtual bool has_files() { return true; }
  // A regular file as it is now.
  virtual absl::StatusOr<std::unique_ptr<os::file>> open_present(std::string_view path) = 0;
  // Of a regular file as it is now; nothing for anything else.
  std::optional<digest> digest_of(std::string_view path);

  virtual absl::Status add_chunk(const v1::FileChunk& chunk) = 0;
  // Applies in order. Ok: what is not in `refusals` is durable. Otherwise the stream must end and begin anew.
  virtual absl::Status apply(std::span<const v1::FileChange> changes,
                             std::vector<v1::FileRefusal>& refusals) = 0;
  // A stream ended: of large uploads under way it is remembered how far they are, the others are forgotten.
  virtual void abandon_uploads() = 0;
  // What is remembered of uploads: the file, and how many bytes of it are durable.
  virtual void uploads(const std::function<void(const entry&, std::uint64_t have)>& visit) const = 0;

  virtual const sink_memory& memory() const = 0;
  // Durable on return.
  virtual absl::Status remember(epoch_ns in_step_until, std::string root) = 0;
  // The same without a promise: what is known while this process lives.
  virtual void in_step(epoch_ns /*until*/) {}
  // Nothing: there are no two sides.
  virtual std::optional<divergence> diverged() { return std::nullopt; }
};

}  // namespace understudy::files
