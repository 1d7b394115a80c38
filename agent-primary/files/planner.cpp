#include "agent-primary/files/planner.hpp"

#include <algorithm>

#include "common/files/tree_path.hpp"

namespace understudy::files {
namespace {

// A change within the granularity of a timestamp after reading shows in no timestamp (git calls such an entry
// racily clean): what was read sooner than this after its last change is read once more.
constexpr epoch_ns timestamp_doubt = 2'000'000'000;

}  // namespace

bool same_attributes(const index_record& known, const observation& now) {
  if (known.uid != now.what.uid || known.gid != now.what.gid || known.modified_at != now.what.modified_at)
    return false;
  if (known.kind != entry_kind::symlink && known.mode != now.what.mode) return false;
  return known.extra == extra_of(now.what);
}

step decide(const index_record* known, const observation& now, const reason_to_look& why) {
  if (known == nullptr || !known->same || known->kind != now.what.kind) return step::put;
  switch (now.what.kind) {
    case entry_kind::directory:
      return same_attributes(*known, now) ? step::nothing : step::attributes;
    case entry_kind::symlink:
      if (known->extra != extra_of(now.what)) return step::put;
      return same_attributes(*known, now) ? step::nothing : step::attributes;
    case entry_kind::regular:
      break;
  }
  if (known->size != now.what.size) return step::put;
  if (known->device != now.device || known->inode != now.inode) return step::verify;
  if (known->modified_at != now.what.modified_at || why.written_since_read) return step::verify;
  if (known->changed_at != now.changed_at) {
    // A modification time that was put back looks like this, and so do chmod, rename and link; with events at
    // hand one knows which.
    if (why.scan) return step::verify;
    return same_attributes(*known, now) ? step::refresh : step::attributes;
  }
  if (why.scan && known->read_at != 0 && now.changed_at > known->read_at - timestamp_doubt)
    return step::verify;
  return step::nothing;
}

std::vector<std::pair<std::string, std::string>> plan_renames(
    tree_index& index, const std::vector<std::pair<std::string, std::string>>& renames,
    const selection_matcher& matcher, const std::function<ino_t(const std::string&)>& inode_at,
    std::uint64_t first_sequence) {
  std::vector<std::pair<std::string, std::string>> planned;
  for (auto at = renames.begin(); at != renames.end(); ++at) {
    const std::string& from = at->first;
    const std::string& to = at->second;
    const std::optional<index_record> known = index.find(from);
    if (!known) continue;
    const bool wanted =
        known->kind == entry_kind::directory ? matcher.includes_directory(to) : matcher.includes_file(to);
    if (!wanted || is_below(from, to) || is_below(to, from)) continue;
    if (matcher.has_database_below(from) || matcher.has_database_below(to)) continue;
    // When `to` has not been renamed again since, what is there must be what was at `from`; otherwise the
    // index had already moved on.
    const bool final = std::none_of(at + 1, renames.end(), [&](const auto& later) {
      return later.first == to || is_below(to, later.first) || later.second == to;
    });
    if (final && known->inode != 0) {
      const ino_t there = inode_at(to);
      if (there != 0 && there != known->inode) continue;
    }
    if (const std::optional<index_record> target = index.find(to);
        target && target->inode == known->inode && target->device == known->device && known->inode != 0) {
      continue;  // two names of one file: rename(2) does nothing
    }
    if (index.rename(from, to, first_sequence + planned.size())) planned.push_back(*at);
  }
  return planned;
}

}  // namespace understudy::files
