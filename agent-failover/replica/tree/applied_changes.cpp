#include "agent-failover/replica/tree/applied_changes.hpp"

#include <chrono>
#include <utility>

#include "agent-failover/replica/tree/tree_change.hpp"
#include "common/files/entry_message.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

applied_kind kind_of(const v1::FileChange& change, const batch_outcome& outcome) {
  switch (change.change_case()) {
    case v1::FileChange::kPut:
      if (!outcome.existed) return applied_kind::put;
      return outcome.kind == entry_kind::directory ? applied_kind::attributes : applied_kind::changed;
    case v1::FileChange::kRemove:
      return applied_kind::removed;
    case v1::FileChange::kRename:
      return applied_kind::renamed;
    case v1::FileChange::kAttributes:
      return applied_kind::attributes;
    case v1::FileChange::kAppend:
      return applied_kind::changed;
    case v1::FileChange::kLink:
      return applied_kind::linked;
    case v1::FileChange::CHANGE_NOT_SET:
      break;
  }
  return applied_kind::unclear;
}

}  // namespace

std::vector<applied_change> applied_changes(const std::shared_ptr<const std::string>& base,
                                            std::span<const v1::FileChange> changes,
                                            std::span<const batch_outcome> outcomes,
                                            std::span<const v1::FileRefusal> refusals) {
  const auto now = std::chrono::system_clock::now();
  std::vector<applied_change> all;
  all.reserve(changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const v1::FileChange& change = changes[i];
    const batch_outcome& outcome = outcomes[i];
    applied_change one;
    one.base = base;
    one.path = path_of(change);
    one.applied_at = now;
    if (change.has_seen_at()) one.seen_at = from_message(change.seen_at());
    if (outcome.made_way) {
      applied_change gone = one;
      gone.kind = applied_kind::removed;
      gone.entry = S_ISDIR(outcome.made_way->st_mode)   ? entry_kind::directory
                   : S_ISLNK(outcome.made_way->st_mode) ? entry_kind::symlink
                                                        : entry_kind::regular;
      gone.size =
          gone.entry == entry_kind::regular ? static_cast<std::uint64_t>(outcome.made_way->st_size) : 0;
      gone.modified_at = to_nanoseconds(outcome.made_way->st_mtim);
      all.push_back(std::move(gone));
    }
    one.entry = outcome.kind;
    one.size = outcome.size;
    one.modified_at = outcome.modified_at;
    const bool refused = !refusals.empty() && refusals.front().sequence() == change.sequence();
    if (refused) {
      one.kind = applied_kind::unclear;
      one.reason = refusals.front().reason();
      refusals = refusals.subspan(1);
    } else if (!outcome.done) {
      continue;  // it was so already
    } else {
      one.kind = kind_of(change, outcome);
    }
    if (change.has_rename()) one.from = change.rename().from();
    if (change.has_link()) one.from = change.link().existing();
    if (change.has_put()) one.target = change.put().entry().symlink_target();
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace understudy::files
