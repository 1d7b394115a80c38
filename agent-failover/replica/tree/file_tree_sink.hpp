#pragma once

// A copy of one file tree on the failover host: what a source sends is applied to it as it comes.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/copy_place.hpp"
#include "agent-failover/replica/tree/frozen_base.hpp"
#include "agent-failover/replica/tree/tree_sink.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

class file_tree_sink final : public tree_sink {
 public:
  // Sweeps what an earlier run left in staging. `fs` outlives it.
  static absl::StatusOr<std::unique_ptr<file_tree_sink>> open(os::file_system& fs, tree_sink_options options);

  const selection& what() const override { return options_.what; }
  std::uint64_t limit() const override { return options_.limit; }
  bool owners_kept() const override { return place_->owners_kept; }
  bool attributes_kept() const override { return place_->attributes_kept; }
  files::trash& trash() { return *place_->trash; }

  // Parents come before what is in them.
  absl::Status scan(const std::function<void(entry&&)>& visit) override;
  bool lies_as_told() const override { return true; }
  absl::Status observe_all(const std::function<void(observation&&)>& visit) override;
  absl::Status observe_directory(std::string_view directory,
                                 const std::function<void(observation&&)>& visit) override;
  bool has_files() override;
  absl::StatusOr<std::unique_ptr<os::file>> open_present(std::string_view path) override;
  absl::Status add_chunk(const v1::FileChunk& chunk) override;
  absl::Status apply(std::span<const v1::FileChange> changes,
                     std::vector<v1::FileRefusal>& refusals) override;
  void abandon_uploads() override { place_->staging->abandon_uploads(); }
  void uploads(const std::function<void(const entry&, std::uint64_t have)>& visit) const override {
    place_->staging->cut_uploads(visit);
  }

  const sink_memory& memory() const override { return memory_; }
  absl::Status remember(epoch_ns in_step_until, std::string root) override;
  void in_step(epoch_ns until) override;
  // Before anybody else may write to the copy (a takeover, a restore from the trash): from then on nothing
  // that a source knows of this copy holds, and the next stream compares contents wherever there is a doubt.
  // What the copy had of its source until then is kept as the frozen base.
  absl::Status forget();
  // Tells who follows the changes that some of them are missing from here on.
  void break_feed(std::string why);

 private:
  file_tree_sink(tree_sink_options options, std::unique_ptr<copy_place> place, sink_memory memory)
      : options_(std::move(options)),
        base_(std::make_shared<const std::string>(options_.what.base)),
        place_(std::move(place)),
        memory_(std::move(memory)) {}

  tree_sink_options options_;
  const std::shared_ptr<const std::string> base_;  // on the primary
  std::unique_ptr<copy_place> place_;
  sink_memory memory_;
  recent_changes recent_;
};

}  // namespace understudy::files
