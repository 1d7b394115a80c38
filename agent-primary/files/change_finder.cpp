#include "agent-primary/files/change_finder.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/os/heap.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {
namespace {

// Clocks of filesystems tick coarsely, and a watcher may be late by as much under load.
constexpr epoch_ns memory_doubt = 2'000'000'000;
// Of a half-seen rename: together with the session's delay 100 ms, many times what the kernel and the watcher
// take.
constexpr int most_holds = 10;
constexpr std::size_t most_held = 10'000;  // paths; more at a time are not remembered

operation op(operation::kind what, std::string path, std::string other = {}) {
  return {.what = what, .path = std::move(path), .other = std::move(other)};
}

}  // namespace

void change_finder::set_receiver(receiver_state state) {
  receiver_ = std::move(state);
  links_.clear();
  receiver_->listing.each([&](std::string_view path, entry_kind kind) {
    index_record record;
    record.kind = kind;
    index_.put(path, record);
  });
}

change_finder::result change_finder::find(const dirty_work& work, std::uint64_t first_sequence) {
  work_ = &work;
  scanned_any_ = false;
  struct ::stat base {};
  if (::fstat(root_.descriptor(), &base) == 0) base_device_ = base.st_dev;
  const auto inode_at = [&](const std::string& path) -> ino_t {
    const auto found = reader_.observe(path);
    return found.ok() && *found ? (*found)->inode : 0;
  };
  // What a listing says is known by path alone, and nothing is known yet of which file lies there.
  if (!receiver_) {
    for (auto& [from, to] : plan_renames(index_, work.renames, matcher_, inode_at, first_sequence)) {
      renames_.push_back(op(operation::kind::rename, from, to));
    }
  }
  if (receiver_ && receiver_->by_digests) {
    begin_comparison();
    if (comparing_) return {};
  } else if (work.everything || receiver_) {
    if (auto base_found = reader_.observe(base_path); base_found.ok() && *base_found)
      look(**std::move(base_found), true);
    scan("");
    if (receiver_) compare_hard_links();
    receiver_.reset();
    os::give_back_heap();  // what a million entries took is not needed again
  } else {
    for (const auto& [path, why] : work.paths) look_at(path, why);
  }
  return finish();
}

change_finder::result change_finder::finish() {
  result r;
  r.retry = std::exchange(retry_, {});
  r.held = std::exchange(held_, {});
  if (r.held.empty()) holds_.clear();
  r.unavailable = std::exchange(unavailable_, {});
  const auto append = [&](auto& operations) {
    for (auto& o : operations) {
      if constexpr (requires { o.second; }) {
        r.operations.push_back(std::move(o.second));
      } else {
        r.operations.push_back(std::move(o));
      }
    }
    operations.clear();
  };
  append(renames_);
  append(directories_);
  append(contents_);
  append(hard_links_);
  append(attributes_);
  append(removals_);
  append(directory_attributes_);
  // Renames are in the index already and must be sent; nothing else may be concluded from half a tree.
  if (!r.unavailable.empty()) {
    std::erase_if(r.operations, [](const operation& o) { return o.what != operation::kind::rename; });
  }
  return r;
}

void change_finder::look_at(const std::string& path, const hint& why) {
  if (scanned_any_ && is_below(path, scanned_)) return;
  auto found = reader_.observe(path);
  if (!found.ok()) {
    log::warning("files", "{}: cannot be looked at: {}", printable(path), message_of(found.status()));
    retry_.push_back(path);
    return;
  }
  if (!*found) {
    if (!index_.find(path)) return;
    if (!why.gone && hold(path)) return;
    removals_.push_back(op(operation::kind::remove, path));
    return;
  }
  ensure_parents(path);
  const std::optional<index_record> known = index_.find(path);
  const bool is_directory = (*found)->what.kind == entry_kind::directory;
  const bool below =
      is_directory && path != base_path && (why.recursive || !known || known->kind != entry_kind::directory);
  look(**std::move(found), false);
  if (below) scan(path);
}

void change_finder::ensure_parents(std::string_view path) {
  for (std::string_view parent = parent_of(path); !parent.empty(); parent = parent_of(parent)) {
    const std::optional<index_record> known = index_.find(parent);
    if ((known && known->kind == entry_kind::directory) || directories_.contains(std::string(parent))) return;
    directories_.emplace(parent, op(operation::kind::put, std::string(parent)));
  }
}

bool change_finder::is_unmounted(const observation& found) const {
  const std::optional<index_record> known = index_.find(found.what.path);
  return known && known->kind == entry_kind::directory && known->device != 0 &&
         known->device != base_device_ && found.device == base_device_;
}

void change_finder::scan(const std::string& directory) {
  scanned_ = directory;
  scanned_any_ = true;
  std::vector<std::string> pending{directory};
  while (!pending.empty()) {
    const std::string here = std::move(pending.back());
    pending.pop_back();
    if (comparing_) note_listed(here);
    std::set<std::string, std::less<>> seen;
    const absl::Status listed = reader_.list(here, [&](observation&& found) {
      seen.emplace(name_of(found.what.path));
      if (found.what.kind == entry_kind::directory) {
        if (is_unmounted(found))
          unavailable_ = fmt::format("{}: it is not mounted", printable(found.what.path));
        pending.push_back(found.what.path);
      }
      look(std::move(found), true);
    });
    if (!listed.ok()) {
      // Nothing is known about what is in it: above all not that it has gone.
      if (is_absent(listed) && !here.empty()) continue;
      log::warning("files", "{}: cannot be read: {}", here.empty() ? "the base" : printable(here),
                   message_of(listed));
      if (here.empty()) unavailable_ = std::string(message_of(listed));
      retry_.push_back(here.empty() ? std::string(base_path) : here);
      continue;
    }
    index_.list(here, [&](const std::string& name, const index_record&) {
      if (!seen.contains(name)) removals_.push_back(op(operation::kind::remove, join(here, name)));
    });
  }
}

void change_finder::look(observation&& found, bool scanned) {
  const std::optional<index_record> known = index_.find(found.what.path);
  if (receiver_ && known && !known->same) {
    if (const auto listed = receiver_->listing.find(found.what.path)) {
      return compare_with_listing(*listed, found);
    }
  }
  if (receiver_ && found.names > 1) {
    links_.push_back({.device = found.device, .inode = found.inode, .path = found.what.path, .group = 0});
  }
  const auto hinted = work_->paths.find(found.what.path);
  const reason_to_look why{.scan = scanned,
                           .written_since_read = known && hinted != work_->paths.end() &&
                                                 hinted->second.content &&
                                                 hinted->second.last > known->read_at_steady};
  const step needed = decide(known ? &*known : nullptr, found, why);
  if ((needed == step::put || needed == step::verify) && !work_->everything && !receiver_ &&
      (!known || known->inode != found.inode) && is_half_of_a_rename(found) && hold(found.what.path)) {
    return;
  }
  add(needed, std::move(found));
}

bool change_finder::is_half_of_a_rename(const observation& found) {
  if (found.what.kind != entry_kind::regular) return false;
  for (const std::string& other : index_.names_of(found.device, found.inode)) {
    if (other == found.what.path) continue;
    const auto there = reader_.observe(other);
    if (there.ok() && (!*there || (*there)->inode != found.inode)) return true;
  }
  return false;
}

bool change_finder::hold(const std::string& path) {
  if (holds_.size() >= most_held || ++holds_[path] > most_holds) return false;
  held_.push_back(path);
  return true;
}

void change_finder::add(step s, observation&& found) {
  const std::string& path = found.what.path;
  const bool is_directory = found.what.kind == entry_kind::directory;
  switch (s) {
    case step::nothing:
      return;
    case step::refresh: {
      index_record record = record_of(found);
      const index_record known = *index_.find(path);
      record.content = known.content;
      record.read_at = known.read_at;
      record.read_at_steady = known.read_at_steady;
      record.sequence = known.sequence;
      index_.put(path, record);
      return;
    }
    case step::verify:
      contents_.push_back(op(operation::kind::verify, path));
      return;
    case step::attributes:
      if (is_directory) {
        directory_attributes_.emplace(path, op(operation::kind::attributes, path));
      } else {
        attributes_.push_back(op(operation::kind::attributes, path));
      }
      return;
    case step::put:
      if (path == base_path) {
        directory_attributes_.emplace(path, op(operation::kind::attributes, path));
      } else if (is_directory) {
        directories_.emplace(path, op(operation::kind::put, path));
      } else {
        contents_.push_back(op(operation::kind::put, path));
      }
      return;
  }
}

std::optional<index_record> change_finder::known_before(const observation& found) const {
  const tree_index* known = receiver_->by_digests ? &index_ : receiver_->previous.get();
  if (known == nullptr) return std::nullopt;
  std::optional<index_record> before = known->find(found.what.path);
  if (!before || !before->same || before->kind != entry_kind::regular) return std::nullopt;
  if (!receiver_->by_digests &&
      receiver_->previous->last_touched(found.what.path) > receiver_->previous_durable)
    return std::nullopt;
  return before;
}

void change_finder::compare_with_listing(const entry& listed, const observation& found) {
  const std::string& path = found.what.path;
  if (found.names > 1 || listed.hard_link_group != 0) {
    links_.push_back(
        {.device = found.device, .inode = found.inode, .path = path, .group = listed.hard_link_group});
  }
  const difference d = compare(found.what, listed, receiver_->compared);
  observation copy = found;
  if (d.kind || d.content) {
    index_record other;
    other.kind = listed.kind;
    index_.put(path, other);
    return add(step::put, std::move(copy));
  }
  if (found.what.kind == entry_kind::regular && found.what.size > 0) {
    if (const auto before = known_before(found); before && before->content) {
      index_record record = *before;
      record.sequence = 0;
      if (d.attributes) record.extra = ~record.extra;
      index_.put(path, record);
      const step s = decide(&*before, found, {.scan = true, .written_since_read = false});
      if (s != step::nothing) return add(s, std::move(copy));
    } else if (found.changed_at >= receiver_->in_step_until - memory_doubt) {
      // Size and times are equal, yet a file that was replaced by one of the same age looks so too.
      index_.put(path, record_without_content(found));
      contents_.push_back(op(operation::kind::verify, path, d.attributes ? "attributes differ" : ""));
      return;
    } else {
      index_.put(path, d.attributes ? record_without_attributes(found) : record_of(found));
    }
  } else {
    index_.put(path, d.attributes ? record_without_attributes(found) : record_of(found));
  }
  if (d.attributes) add(step::attributes, std::move(copy));
}

// Names of one file here must be names of one file there, and of no other.
void change_finder::compare_hard_links() {
  std::map<std::pair<dev_t, ino_t>, const linked*> leaders;
  std::map<std::uint32_t, std::pair<dev_t, ino_t>> claimed;
  std::sort(links_.begin(), links_.end(), [](const linked& a, const linked& b) { return a.path < b.path; });
  for (const linked& l : links_) {
    const std::pair identity(l.device, l.inode);
    bool apart = false;  // linked there with what is another file here
    if (l.group != 0) apart = claimed.try_emplace(l.group, identity).first->second != identity;
    const auto [leader, first] = leaders.try_emplace(identity, &l);
    if (first ? !apart : !apart && l.group != 0 && l.group == leader->second->group) continue;
    // Until it is done, what is there is not what is here.
    if (const std::optional<index_record> known = index_.find(l.path)) {
      index_record unlinked = *known;
      unlinked.same = false;
      index_.put(l.path, unlinked);
    }
    if (first) {
      contents_.push_back(op(operation::kind::put, l.path));
    } else {
      hard_links_.push_back(op(operation::kind::link, l.path, leader->second->path));
    }
  }
}

}  // namespace understudy::files
