#include "agent-failover/replica/tree/frozen_base.hpp"

#include <fmt/core.h>

#include <vector>

#include "agent-failover/replica/tree/tree_change.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t most_recent = 100'000;    // paths; more is asked about rather than remembered
constexpr std::size_t largest_base = 64 << 20;  // bytes of the file
constexpr epoch_ns kept_for = 10'000'000'000;   // 10 s: well beyond base_doubt and a change's way here

}  // namespace

v1::FilesBase to_message(const frozen_base& base) {
  v1::FilesBase message;
  to_message(base.in_step_until, *message.mutable_in_step_until());
  for (const auto& [path, e] : base.recent) to_message(e, *message.add_recent());
  return message;
}

absl::StatusOr<frozen_base> from_message(const v1::FilesBase& message) {
  frozen_base base;
  base.in_step_until = from_message(message.in_step_until());
  for (const v1::FileEntry& recent : message.recent()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(recent, false));
    std::string path = e.path;
    base.recent.insert_or_assign(std::move(path), std::move(e));
  }
  return base;
}

absl::Status store_base(os::directory& area, std::string_view name, const frozen_base& base) {
  return os::replace_file(area, fmt::format("{}.frozen", name), to_message(base).SerializeAsString());
}

frozen_base load_base(os::file_system& fs, std::string_view beside, std::string_view name) {
  const auto area = fs.open_root(fmt::format("{}/{}", beside, reserved_name));
  if (!area.ok()) return {};
  const auto file = (*area)->open(fmt::format("{}.frozen", name), os::open_mode::read);
  if (!file.ok()) return {};
  const auto status = (*file)->status();
  if (!status.ok() || static_cast<std::size_t>(status->st_size) > largest_base) return {};
  std::string bytes(static_cast<std::size_t>(status->st_size), '\0');
  const auto length = (*file)->read_at(std::as_writable_bytes(std::span(bytes.data(), bytes.size())), 0);
  v1::FilesBase stored;
  if (!length.ok() || *length != bytes.size() || !stored.ParseFromString(bytes)) return {};
  auto base = from_message(stored);
  return base.ok() ? *std::move(base) : frozen_base{};
}

void recent_changes::add(std::span<const v1::FileChange> changes) {
  for (const v1::FileChange& change : changes) {
    if (change.has_remove()) continue;  // nothing is lost with what is not there
    seen_at_[path_of(change)] = from_message(change.seen_at());
    if (seen_at_.size() > most_recent) seen_at_.erase(seen_at_.begin());
  }
}

void recent_changes::in_step(epoch_ns until) {
  in_step_until_ = until;
  std::erase_if(seen_at_, [&](const auto& seen) { return seen.second < until - kept_for; });
}

frozen_base recent_changes::freeze(os::directory& tree, const selection_matcher& matcher,
                                   epoch_ns until) const {
  frozen_base base;
  base.in_step_until = until;
  tree_reader reader(tree, matcher, false);
  for (const auto& [path, seen_at] : seen_at_) {
    auto found = reader.observe(path);
    if (!found.ok() || !*found || (*found)->what.kind == entry_kind::directory) continue;
    base.recent.emplace(path, std::move((*found)->what));
  }
  return base;
}

}  // namespace understudy::files
