#pragma once

// Failback's end on the primary: a tree that arrives beside the present one, which is not touched until it is
// adopted. Only what differs is kept, as a file each and a journal (incoming_log.hpp) in staging; a stream
// that was cut, or an agent that restarted, goes on from there.
//
// Adoption: first the decision is recorded, then every path becomes what the journal says. From the record on
// it is only ever finished: by the same call, by the next one, or by finish_adoption() when the agent starts.
// What the primary had changed on its own (since `base`) is moved to the set-aside directory; what the
// stand-in had removed goes to the trash.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/copy_place.hpp"
#include "agent-failover/replica/tree/frozen_base.hpp"
#include "agent-failover/replica/tree/incoming_log.hpp"
#include "agent-failover/replica/tree/tree_sink.hpp"
#include "common/files/tree_walk.hpp"

namespace understudy::v1 {
class FileAppend;
class FileEntry;
class FileLink;
class FilePut;
class FileRename;
}  // namespace understudy::v1

namespace understudy::files {

struct adopted_tree {
  std::string set_aside;  // absolute; empty: nothing had diverged
  divergence diverged;
  std::uint64_t replaced = 0;
  std::uint64_t removed = 0;
};

class incoming_tree final : public tree_sink {
 public:
  // `fs` outlives it. An adoption that was begun and not finished is finished first.
  static absl::StatusOr<std::unique_ptr<incoming_tree>> open(os::file_system& fs, tree_sink_options options,
                                                             std::uint64_t epoch, frozen_base base);

  const selection& what() const override { return options_.what; }
  bool owners_kept() const override { return place_->owners_kept; }
  bool attributes_kept() const override { return place_->attributes_kept; }
  // As it will be.
  absl::Status scan(const std::function<void(entry&&)>& visit) override;
  absl::StatusOr<std::unique_ptr<os::file>> open_present(std::string_view path) override;
  absl::Status add_chunk(const v1::FileChunk& chunk) override {
    return place_->staging->add_chunk(chunk, [this](std::string_view path) { return open_present(path); });
  }
  absl::Status apply(std::span<const v1::FileChange> changes,
                     std::vector<v1::FileRefusal>& refusals) override;
  void abandon_uploads() override { place_->staging->abandon_uploads(); }
  void uploads(const std::function<void(const entry&, std::uint64_t have)>& visit) const override {
    place_->staging->cut_uploads(visit);
  }
  const sink_memory& memory() const override { return memory_; }
  absl::Status remember(epoch_ns, std::string) override { return absl::OkStatus(); }
  void in_step(epoch_ns) override { place_->staging->drop_cut_uploads(); }
  std::optional<divergence> diverged() override;

  // Puts everything in its place. `aside`: a name below the directory for data that is set aside.
  absl::StatusOr<adopted_tree> adopt(const std::string& aside);

 private:
  incoming_tree(tree_sink_options options, std::unique_ptr<copy_place> place, frozen_base base)
      : options_(std::move(options)),
        place_(std::move(place)),
        base_(std::move(base)),
        memory_(new_memory()) {}
  absl::Status load(std::uint64_t epoch);
  absl::Status change(const v1::FileChange& change);
  absl::Status put(const v1::FilePut& put);
  absl::Status append(const v1::FileAppend& append);
  absl::Status link(const v1::FileLink& link);
  absl::Status set_attributes(const v1::FileEntry& attributes);
  absl::Status remove(std::string_view path);
  absl::Status rename(const v1::FileRename& rename);

  // As it will be; nothing: the path is free.
  absl::StatusOr<std::optional<incoming_item>> at(std::string_view path);
  std::vector<std::string> below(std::string_view directory);
  absl::StatusOr<std::unique_ptr<os::file>> open_content(const incoming_item& item);
  void set(std::string_view path, std::optional<incoming_item> item);
  void drop_left();
  absl::Status check_free_of_databases(std::string_view path) const;
  bool is_diverged(std::string_view path, const std::optional<incoming_item>& item);

  tree_sink_options options_;
  std::unique_ptr<copy_place> place_;
  frozen_base base_;
  epoch_ns adopted_until_ = 0;  // what an earlier adoption put in place
  sink_memory memory_;
  std::unique_ptr<os::directory> where_;  // the journal and the contents
  std::unique_ptr<incoming_log> log_;
  incoming_items items_;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, int> uses_;            // of a content, by items_
  std::vector<std::uint64_t> left_;              // contents that an item no longer names
  std::set<std::string, std::less<>> changed_;   // in the batch under way
  std::set<std::string, std::less<>> diverged_;  // of items_
};

// At the agent's start, before anything else looks at the tree: an adoption that was begun is finished.
absl::Status finish_adoption(os::file_system& fs, const tree_sink_options& options);
// What was collected and never adopted is dropped: the primary serves again.
absl::Status discard_incoming(os::file_system& fs, const tree_sink_options& options);

}  // namespace understudy::files
