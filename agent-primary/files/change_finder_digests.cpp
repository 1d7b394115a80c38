// How change_finder compares with a receiver that offers digests: everything here is read once and taken for
// what the receiver has, the digests tell in which directories that is not so, and there each entry is looked
// at again.

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "agent-primary/files/change_finder.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_sums.hpp"
#include "common/log/log.hpp"
#include "common/os/heap.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

// Clocks of filesystems tick coarsely, and a watcher may be late by as much under load.
constexpr epoch_ns memory_doubt = 2'000'000'000;
constexpr std::size_t most_asked = 256;          // directories per question, and without an answer
constexpr std::size_t most_listed = 20'000'000;  // entries; more than a tree of ours has

}  // namespace

struct comparison_by_digests {
  explicit comparison_by_digests(comparison what) : sums(what) {}

  tree_sums sums;
  std::deque<std::string> to_ask;
  std::unordered_map<std::string, listed_entries> asked;
  std::unordered_set<std::string> listed;  // directories in which every entry was looked at
  std::vector<std::string> doubtful;       // files that are equal, but for what metadata do not prove
  std::unordered_map<std::string, std::uint32_t> groups;
  std::size_t entries_listed = 0;
  dirty_work nothing_hinted;

  std::uint32_t group_of(const std::string& leader) {
    if (leader.empty()) return 0;
    return groups.try_emplace(leader, static_cast<std::uint32_t>(groups.size() + 1)).first->second;
  }
};

change_finder::change_finder(os::directory& root, const selection_matcher& matcher, tree_reader& reader,
                             tree_index& index)
    : root_(root), matcher_(matcher), reader_(reader), index_(index) {}

change_finder::~change_finder() = default;

void change_finder::begin_comparison() {
  comparing_ = std::make_unique<comparison_by_digests>(receiver_->compared);
  comparison_by_digests& c = *comparing_;
  const bool has_memory = index_.size() > 0;
  links_.clear();
  if (auto base_found = reader_.observe(base_path); base_found.ok() && *base_found) {
    c.sums.add(**base_found);
    index_.put(base_path, record_of(**base_found));
  }
  std::vector<std::string> pending{std::string{}};
  while (!pending.empty() && unavailable_.empty()) {
    const std::string here = std::move(pending.back());
    pending.pop_back();
    std::unordered_set<std::string> seen;
    const absl::Status listed = reader_.list(here, [&](observation&& found) {
      if (found.what.kind == entry_kind::directory) {
        if (is_unmounted(found))
          unavailable_ = fmt::format("{}: it is not mounted", printable(found.what.path));
        pending.push_back(found.what.path);
      }
      if (has_memory) seen.emplace(name_of(found.what.path));
      c.sums.add(found);
      if (unavailable_.empty()) presume(std::move(found), has_memory);
    });
    if (!listed.ok()) {
      if (is_absent(listed) && !here.empty()) continue;
      log::warning("files", "{}: cannot be read: {}", here.empty() ? "the base" : printable(here),
                   message_of(listed));
      if (here.empty()) unavailable_ = std::string(message_of(listed));
      retry_.push_back(here.empty() ? std::string(base_path) : here);
      c.sums.leave_open(here);
      continue;
    }
    if (!has_memory) continue;
    std::vector<std::string> gone;
    index_.list(here, [&](const std::string& name, const index_record&) {
      if (!seen.contains(name)) gone.push_back(join(here, name));
    });
    for (const std::string& path : gone) index_.remove(path);
  }
  if (!unavailable_.empty()) {
    comparing_.reset();  // the next find() begins anew
    return;
  }
  c.sums.finish();
  c.to_ask.emplace_back();
}

void change_finder::presume(observation&& found, bool has_memory) {
  if (found.what.kind == entry_kind::regular && found.what.size > 0) {
    const auto before = has_memory ? known_before(found) : std::nullopt;
    if (before && before->content) {
      if (decide(&*before, found, {.scan = true, .written_since_read = false}) != step::nothing) {
        comparing_->doubtful.push_back(std::move(found.what.path));
      }
      return;
    }
    if (found.changed_at >= receiver_->in_step_until - memory_doubt) {
      index_.put(found.what.path, record_without_content(found));
      comparing_->doubtful.push_back(std::move(found.what.path));
      return;
    }
  }
  index_.put(found.what.path, record_of(found));
}

bool change_finder::has_questions() const {
  return comparing_ != nullptr && !comparing_->to_ask.empty() && comparing_->asked.size() < most_asked;
}

bool change_finder::has_all_answers() const {
  return comparing_ != nullptr && comparing_->to_ask.empty() && comparing_->asked.empty();
}

void change_finder::ask(v1::FileDirectoriesQuestion& question) {
  while (has_questions()) {
    const std::string path = std::move(comparing_->to_ask.front());
    comparing_->to_ask.pop_front();
    v1::FileDirectory& asked = *question.add_directories();
    asked.set_path(path);
    if (const auto below = comparing_->sums.below(path)) asked.set_digest(to_bytes(*below));
    comparing_->asked.try_emplace(path);
  }
}

absl::Status change_finder::take(const v1::FileDirectories& answer) {
  if (comparing_ == nullptr) return absl::InvalidArgumentError("directories: there was no question");
  comparison_by_digests& c = *comparing_;
  for (const v1::FileDirectoryListing& part : answer.listings()) {
    const auto at = c.asked.find(part.path());
    if (at == c.asked.end()) return absl::InvalidArgumentError("directories: one that was not asked for");
    listed_entries& listed = at->second;
    if (part.same()) {
      if (!listed.empty() || part.entries_size() > 0 || !c.sums.below(part.path()))
        return absl::InvalidArgumentError("directories: one cannot be the same");
      c.asked.erase(at);
      continue;
    }
    for (const v1::FileEntry& message : part.entries()) {
      UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(message, part.path().empty()));
      if (e.path != base_path && parent_of(e.path) != part.path())
        return absl::InvalidArgumentError("directories: an entry of another one");
      e.hard_link_group = c.group_of(message.hard_link_leader());
      std::string name(e.path == base_path ? base_path : name_of(e.path));
      listed.insert_or_assign(
          std::move(name), listed_entry{.what = std::move(e), .below = digest_from_bytes(message.below())});
    }
    c.entries_listed += static_cast<std::size_t>(part.entries_size());
    if (c.entries_listed > most_listed) return absl::ResourceExhaustedError("directories: too many entries");
    if (!part.complete()) continue;
    const listed_entries whole = std::move(listed);
    c.asked.erase(at);
    work_ = &c.nothing_hinted;
    compare_directory(part.path(), whole);
  }
  return absl::OkStatus();
}

void change_finder::note_listed(const std::string& directory) {
  comparing_->listed.insert(directory);
}

void change_finder::compare_directory(const std::string& here, const listed_entries& listed) {
  comparison_by_digests& c = *comparing_;
  note_listed(here);
  // First what the receiver has, as far as it is not what was presumed.
  std::vector<std::string> not_there;
  index_.list(here, [&](const std::string& name, const index_record&) {
    if (!listed.contains(name)) not_there.push_back(join(here, name));
  });
  for (const std::string& path : not_there) index_.remove(path);
  for (const auto& [name, there] : listed) {
    const std::optional<index_record> presumed = index_.find(there.what.path);
    if (presumed && presumed->kind == there.what.kind) continue;
    index_record other;
    other.kind = there.what.kind;
    index_.put(there.what.path, other);
  }
  if (here.empty()) {
    const auto base = listed.find(base_path);
    auto found = reader_.observe(base_path);
    if (base != listed.end() && found.ok() && *found) compare_with_listing(base->second.what, **found);
  }
  std::unordered_set<std::string> seen;
  std::vector<std::string> new_directories;
  std::unordered_set<std::string> equal;
  const absl::Status read = reader_.list(here, [&](observation&& found) {
    std::string path = found.what.path;
    std::string name(name_of(path));
    const auto there = listed.find(name);
    seen.insert(std::move(name));
    const bool is_directory = found.what.kind == entry_kind::directory;
    if (is_directory && is_unmounted(found))
      unavailable_ = fmt::format("{}: it is not mounted", printable(path));
    if (there == listed.end()) {
      look(std::move(found), true);
    } else {
      compare_with_listing(there->second.what, found);
    }
    if (!is_directory) return;
    if (there == listed.end() || there->second.what.kind != entry_kind::directory) {
      new_directories.push_back(std::move(path));
    } else if (const auto below = c.sums.below(path); below && below == there->second.below) {
      equal.insert(std::move(path));
    }
  });
  // Also what is no directory here: it may be one again before it is removed there.
  for (const auto& [name, there] : listed) {
    if (there.what.kind == entry_kind::directory && name != base_path && !equal.contains(there.what.path))
      c.to_ask.push_back(there.what.path);
  }
  // What was presumed of these was not compared; they may be here again, or elsewhere, by the time they are
  // looked at.
  for (const auto& [name, there] : listed) {
    if (name == base_path || seen.contains(name)) continue;
    index_record unread;
    unread.kind = there.what.kind;
    index_.put(there.what.path, unread);
  }
  for (const std::string& path : new_directories) scan(path);
  if (!read.ok()) {
    if (is_absent(read) && !here.empty()) return;
    if (here.empty()) unavailable_ = std::string(message_of(read));
    retry_.push_back(here.empty() ? std::string(base_path) : here);
    return;
  }
  for (const auto& [name, there] : listed) {
    if (name == base_path || seen.contains(name)) continue;
    removals_.push_back({.what = operation::kind::remove, .path = there.what.path, .other = {}});
  }
}

change_finder::result change_finder::end_comparison() {
  comparison_by_digests& c = *comparing_;
  const auto was_listed = [&](const std::string& path) {
    return c.listed.contains(std::string(parent_of(path)));
  };
  for (std::string& path : c.doubtful) {
    if (was_listed(path)) continue;
    contents_.push_back({.what = operation::kind::verify, .path = std::move(path), .other = {}});
  }
  if (!c.listed.empty()) {
    // Where nothing differs, the receiver's names of a file are those that are here.
    for (const tree_sums::link& l : c.sums.links()) {
      if (was_listed(l.path)) continue;
      links_.push_back({.device = l.device,
                        .inode = l.inode,
                        .path = l.path,
                        .group = c.group_of(c.sums.leader_of(l.device, l.inode))});
    }
    compare_hard_links();
  }
  comparing_.reset();
  receiver_.reset();
  result found = finish();
  os::give_back_heap();  // what a million entries took is not needed again
  return found;
}

}  // namespace understudy::files
