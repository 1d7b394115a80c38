#include "agent-failover/replica/tree/file_tree_sink.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "agent-failover/replica/tree/applied_changes.hpp"
#include "agent-failover/replica/tree/tree_batch.hpp"
#include "agent-failover/replica/tree/tree_change.hpp"
#include "common/files/file_feed.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {

absl::StatusOr<std::unique_ptr<file_tree_sink>> file_tree_sink::open(os::file_system& fs,
                                                                     tree_sink_options options) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto place, open_copy_place(fs, options));
  sink_memory memory = load_memory(*place->area, place->memory_file);
  UNDERSTUDY_RETURN_IF_ERROR(store_memory(*place->area, place->memory_file, memory));
  return std::unique_ptr<file_tree_sink>(
      new file_tree_sink(std::move(options), std::move(place), std::move(memory)));
}

absl::Status file_tree_sink::scan(const std::function<void(entry&&)>& visit) {
  std::unordered_map<ino_t, std::uint32_t> groups;
  return observe_all([&](observation&& found) {
    if (found.what.path != base_path && found.names > 1) {
      found.what.hard_link_group =
          groups.try_emplace(found.inode, static_cast<std::uint32_t>(groups.size() + 1)).first->second;
    }
    visit(std::move(found.what));
  });
}

absl::Status file_tree_sink::observe_all(const std::function<void(observation&&)>& visit) {
  tree_reader reader(*place_->tree, *place_->matcher, place_->attributes_kept);
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<observation> base, reader.observe(base_path));
  if (base) visit(*std::move(base));
  absl::Status failure;
  reader.walk(
      "",
      [&](observation&& found) {
        visit(std::move(found));
        return true;
      },
      [&](const std::string&, const absl::Status& status) { failure.Update(status); });
  return failure;
}

absl::Status file_tree_sink::observe_directory(std::string_view directory,
                                               const std::function<void(observation&&)>& visit) {
  if (!directory.empty() && !place_->matcher->includes_directory(directory))
    return absl::NotFoundError("it is not among the directories selected");
  tree_reader reader(*place_->tree, *place_->matcher, place_->attributes_kept);
  if (directory.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<observation> base, reader.observe(base_path));
    if (base) visit(*std::move(base));
  }
  return reader.list(directory, visit);
}

bool file_tree_sink::has_files() {
  bool found_one = false;
  tree_reader reader(*place_->tree, *place_->matcher, false);
  reader.walk(
      "",
      [&](const observation& found) {
        found_one = found.what.kind != entry_kind::directory;
        return !found_one;
      },
      [](const std::string&, const absl::Status&) {});
  return found_one;
}

absl::StatusOr<std::unique_ptr<os::file>> file_tree_sink::open_present(std::string_view path) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(path));
  if (!place_->matcher->includes_file(path)) return refuse(path, "it is not among the files selected");
  return place_->tree->open(path, os::open_mode::read);
}

absl::Status file_tree_sink::add_chunk(const v1::FileChunk& chunk) {
  return place_->staging->add_chunk(chunk, [this](std::string_view path) { return open_present(path); });
}

absl::Status file_tree_sink::apply(std::span<const v1::FileChange> changes,
                                   std::vector<v1::FileRefusal>& refusals) {
  recent_.add(changes);
  tree_batch batch(*place_);
  const std::size_t refused = refusals.size();
  absl::Status applied = batch.apply(changes, refusals);
  if (options_.feed == nullptr) return applied;
  if (applied.ok()) {
    options_.feed->add(
        applied_changes(base_, changes, batch.outcomes(), std::span(refusals).subspan(refused)));
  } else {
    break_feed(
        fmt::format("of some changes it is not known whether they were applied ({}); the copy is "
                    "compared with the primary again",
                    message_of(applied)));
  }
  return applied;
}

void file_tree_sink::break_feed(std::string why) {
  if (options_.feed == nullptr) return;
  std::vector<applied_change> gap(1);
  gap.front().base = base_;
  gap.front().reason = std::move(why);
  gap.front().applied_at = std::chrono::system_clock::now();
  options_.feed->add(std::move(gap));
}

absl::Status file_tree_sink::remember(epoch_ns in_step_until, std::string root) {
  sink_memory next{.copy = memory_.copy, .in_step_until = in_step_until, .root = std::move(root)};
  UNDERSTUDY_RETURN_IF_ERROR(store_memory(*place_->area, place_->memory_file, next));
  memory_ = std::move(next);
  return absl::OkStatus();
}

void file_tree_sink::in_step(epoch_ns until) {
  recent_.in_step(until);
  place_->staging->drop_cut_uploads();
  // What is too old goes also where nothing is deleted any more. A failure meets the next deletion again.
  (void)place_->trash->prune(std::chrono::system_clock::now());
}

absl::Status file_tree_sink::forget() {
  break_feed("from here on others may write to the copy: a stand-in, say");
  // A copy that was not in step since it was forgotten has the base that it had.
  const epoch_ns until = std::max(memory_.in_step_until, recent_.in_step_until());
  if (until != 0) {
    const frozen_base base = recent_.freeze(*place_->tree, *place_->matcher, until);
    UNDERSTUDY_RETURN_IF_ERROR(store_base(*place_->area, options_.name, base));
    recent_ = {};
  }
  // The source's base stays known: it protects against an unmounted one.
  sink_memory next = new_memory();
  next.root = memory_.root;
  UNDERSTUDY_RETURN_IF_ERROR(store_memory(*place_->area, place_->memory_file, next));
  memory_ = std::move(next);
  return absl::OkStatus();
}

}  // namespace understudy::files
