#include "agent-failover/replica/tree/incoming_adoption.hpp"

#include <fmt/core.h>

#include <chrono>
#include <utility>
#include <vector>

#include "agent-failover/replica/tree/incoming_tree.hpp"
#include "agent-failover/replica/tree/remove_tree.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::string_view decision_name = "decision";
constexpr std::string_view saved_name = "saved";
constexpr std::string_view half_made = "new";  // a link or symlink before it has its name

absl::StatusOr<std::string> read_all(os::directory& where, std::string_view name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, where.open(name, os::open_mode::read));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, file->status());
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  UNDERSTUDY_ASSIGN_OR_RETURN(
      const std::size_t length,
      file->read_at(std::as_writable_bytes(std::span(bytes.data(), bytes.size())), 0));
  bytes.resize(length);
  return bytes;
}

absl::Status ignore_absence(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// Staging lies beside the tree, or in it.
bool exists(os::file_system& fs, const tree_sink_options& options, std::string_view file) {
  const auto is_in = [&](const std::string& holder, const std::string& staging) {
    const auto opened = fs.open_root(holder);
    return opened.ok() &&
           (*opened)->status(fmt::format("{}/{}/{}/{}", reserved_name, staging, incoming_name, file)).ok();
  };
  return is_in(options.beside, options.name) || is_in(options.tree, "staging");
}

}  // namespace

bool incoming_adoption::is_begun(os::file_system& fs, const tree_sink_options& options) {
  return exists(fs, options, decision_name);
}

bool incoming_adoption::is_collected(os::file_system& fs, const tree_sink_options& options) {
  return exists(fs, options, "log");
}

epoch_ns incoming_adoption::adopted_until(copy_place& place, const std::string& name) {
  return from_message(last_adoption(place, name).memory().in_step_until());
}

v1::FileListing incoming_adoption::last_adoption(copy_place& place, const std::string& name) {
  v1::FileListing stored;
  const auto bytes = read_all(*place.area, name + ".adopted");
  if (bytes.ok() && stored.ParseFromString(*bytes)) return stored;
  return {};
}

absl::Status incoming_adoption::decide(const std::string& aside,
                                       const std::set<std::string, std::less<>>& diverged) {
  v1::FileListing decision;  // `copy`: the name of the directory
  decision.set_copy(aside);
  for (const std::string& path : diverged) decision.add_entries()->set_path(path);
  UNDERSTUDY_RETURN_IF_ERROR(os::replace_file(where_, decision_name, decision.SerializeAsString()));
  return absl::OkStatus();
}

absl::Status incoming_adoption::read_decision() {
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::string bytes, read_all(where_, decision_name));
  v1::FileListing decision;
  if (!decision.ParseFromString(bytes) || decision.copy().empty()) {
    return absl::DataLossError(fmt::format("{}: the decision about its adoption is damaged", name_));
  }
  aside_ = join(".understudy-set-aside", join(decision.copy(), name_));
  for (const v1::FileEntry& e : decision.entries()) diverged_.insert(e.path());
  return absl::OkStatus();
}

std::string incoming_adoption::staged_name(const incoming_item& item) const {
  if (item.number != 0) return fmt::format("{}", item.number);
  const auto saved = saved_.find(item.present);
  return saved == saved_.end() || item.present == item.what.path ? ""
                                                                 : fmt::format("present-{}", saved->second);
}

absl::StatusOr<adopted_tree> incoming_adoption::carry_out() {
  UNDERSTUDY_RETURN_IF_ERROR(read_decision());
  adopted_tree done;
  done.diverged.count = diverged_.size();
  done.diverged.paths.assign(diverged_.begin(), diverged_.end());
  if (!diverged_.empty()) {
    done.set_aside = aside_path();
    UNDERSTUDY_ASSIGN_OR_RETURN(aside_directory_, open_or_make_directory(*place_.holder, aside_, 0700));
  }
  UNDERSTUDY_RETURN_IF_ERROR(save_present());
  UNDERSTUDY_RETURN_IF_ERROR(make_free());
  UNDERSTUDY_RETURN_IF_ERROR(put_in_place(done));
  UNDERSTUDY_RETURN_IF_ERROR(set_directory_times());
  done.removed = removed_;
  // An adoption whose answer was lost is asked for again, and answered the same.
  if (const v1::FileListing last = last_adoption(place_, name_);
      diverged_.empty() && !last.copy().empty() && last.copy() == aside_path()) {
    done.set_aside = last.copy();
    for (const v1::FileEntry& e : last.entries()) done.diverged.paths.push_back(e.path());
    done.diverged.count = done.diverged.paths.size();
  }
  UNDERSTUDY_RETURN_IF_ERROR(finish(done));
  return done;
}

std::string incoming_adoption::aside_path() const {
  return fmt::format("{}/{}", place_.holder_path == "/" ? "" : place_.holder_path, aside_);
}

// Their present names may be taken over by others.
absl::Status incoming_adoption::save_present() {
  for (const auto& [path, item] : items_) {
    if (item && !item->present.empty() && item->present != path) saved_.emplace(item->present, 0);
  }
  std::size_t number = 0;
  for (auto& [path, at] : saved_) at = number++;
  if (where_.status(saved_name).ok()) return absl::OkStatus();
  for (const auto& [path, at] : saved_) {
    const absl::Status linked = place_.tree->make_hard_link(path, where_, fmt::format("present-{}", at));
    if (!linked.ok() && !absl::IsAlreadyExists(linked)) return linked;
  }
  if (!saved_.empty()) UNDERSTUDY_RETURN_IF_ERROR(place_.fs->sync_file_system(where_));
  return os::replace_file(where_, saved_name, "");
}

absl::Status incoming_adoption::touch(std::string_view directory) {
  if (touched_.contains(directory)) return absl::OkStatus();
  const auto status =
      directory.empty() ? place_.parent->status(place_.tree_name) : place_.tree->status(directory);
  if (is_absent(status.status())) return absl::OkStatus();
  if (!status.ok()) return status.status();
  touched_.emplace(directory, to_nanoseconds(status->st_mtim));
  return absl::OkStatus();
}

absl::Status incoming_adoption::keep_diverged(std::string_view path) {
  if (!parent_of(path).empty()) {
    UNDERSTUDY_RETURN_IF_ERROR(open_or_make_directory(*aside_directory_, parent_of(path), 0700).status());
  }
  const absl::Status linked = place_.tree->make_hard_link(path, *aside_directory_, path);
  return absl::IsAlreadyExists(linked) ? absl::OkStatus() : linked;
}

absl::Status incoming_adoption::take_away(std::string_view path, const struct ::stat& status) {
  UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(path)));
  if (diverged_.contains(path)) {
    UNDERSTUDY_RETURN_IF_ERROR(keep_diverged(path));
    return place_.tree->remove_file(path);
  }
  // What has another name is not lost with this one.
  const bool linked = S_ISREG(status.st_mode) && status.st_nlink > 1;
  if (linked || saved_.contains(path) || !kind_of(status.st_mode)) return place_.tree->remove_file(path);
  ++removed_;
  return place_.trash->take(*place_.tree, path, static_cast<std::uint64_t>(status.st_size),
                            std::chrono::system_clock::now());
}

// What is to go, and what has another kind than what comes; from the leaves up.
absl::Status incoming_adoption::make_free() {
  for (auto at = items_.rbegin(); at != items_.rend(); ++at) {
    const auto& [path, item] = *at;
    if (path == base_path) continue;
    const auto present = place_.tree->status(path);
    if (is_absent(present.status())) continue;
    if (!present.ok()) return present.status();
    if (item && kind_of(present->st_mode) == item->what.kind) continue;
    if (!S_ISDIR(present->st_mode)) {
      UNDERSTUDY_RETURN_IF_ERROR(take_away(path, *present));
      continue;
    }
    UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(path)));
    // What was never selected may be in it: that is not the sender's to remove, and only makes way.
    if (place_.tree->remove_directory(path).ok() || !item) continue;
    log::warning(name_, "{}: a file takes the place of this directory; what was in it lies in the trash",
                 printable(path));
    UNDERSTUDY_RETURN_IF_ERROR(place_.trash->take(*place_.tree, path, 0, std::chrono::system_clock::now()));
  }
  return absl::OkStatus();
}

absl::Status incoming_adoption::put_content(const std::string& staged,
                                            const std::vector<const incoming_item*>& names) {
  auto file = where_.open(staged, os::open_mode::read);
  if (absl::IsNotFound(file.status())) return absl::OkStatus();  // done before an interruption
  UNDERSTUDY_RETURN_IF_ERROR(file.status());
  UNDERSTUDY_RETURN_IF_ERROR(place_.dress(**file, names.back()->what));
  UNDERSTUDY_RETURN_IF_ERROR((*file)->sync_data());
  for (const incoming_item* name : names) {
    const std::string& path = name->what.path;
    if (place_.matcher->is_database(path)) continue;
    if (!parent_of(path).empty()) {
      UNDERSTUDY_RETURN_IF_ERROR(open_or_make_directory(*place_.tree, parent_of(path), 0755).status());
    }
    UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(path)));
    if (diverged_.contains(path)) UNDERSTUDY_RETURN_IF_ERROR(ignore_absence(keep_diverged(path)));
    if (name == names.back()) {
      UNDERSTUDY_RETURN_IF_ERROR(where_.rename(staged, *place_.tree, path));
    } else {
      UNDERSTUDY_RETURN_IF_ERROR(ignore_absence(where_.remove_file(half_made)));
      UNDERSTUDY_RETURN_IF_ERROR(where_.make_hard_link(staged, where_, half_made));
      UNDERSTUDY_RETURN_IF_ERROR(where_.rename(half_made, *place_.tree, path));
    }
  }
  // Between two names of one file a rename does nothing.
  return ignore_absence(where_.remove_file(staged));
}

absl::Status incoming_adoption::put_in_place(adopted_tree& done) {
  std::map<std::string, std::vector<const incoming_item*>> contents;
  for (const auto& [path, item] : items_) {
    if (!item || path == base_path) continue;
    const entry& e = item->what;
    if (e.kind == entry_kind::directory) {
      UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(path)));
      UNDERSTUDY_RETURN_IF_ERROR(open_or_make_directory(*place_.tree, path, 0700).status());
      UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*place_.tree, path, e, false));
      continue;
    }
    ++done.replaced;
    if (e.kind == entry_kind::symlink) {
      const auto target = place_.tree->read_symlink(path);
      if (!target.ok() || *target != e.target) {
        if (target.ok() && diverged_.contains(path)) UNDERSTUDY_RETURN_IF_ERROR(keep_diverged(path));
        UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(path)));
        UNDERSTUDY_RETURN_IF_ERROR(ignore_absence(where_.remove_file(half_made)));
        UNDERSTUDY_RETURN_IF_ERROR(where_.make_symlink(e.target, half_made));
        UNDERSTUDY_RETURN_IF_ERROR(where_.rename(half_made, *place_.tree, path));
      }
      UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*place_.tree, path, e, true));
      continue;
    }
    if (const std::string staged = staged_name(*item); !staged.empty()) {
      contents[staged].push_back(&*item);
      continue;
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, place_.tree->open(path, os::open_mode::read));
    UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*file, e));
  }
  for (const auto& [staged, names] : contents) UNDERSTUDY_RETURN_IF_ERROR(put_content(staged, names));
  return absl::OkStatus();
}

absl::Status incoming_adoption::set_directory_times() {
  for (const auto& [path, item] : items_) {
    if (item && item->what.kind == entry_kind::directory)
      touched_[path == base_path ? "" : path] = item->what.modified_at;
  }
  if (const auto base = items_.find(base_path); base != items_.end() && base->second) {
    UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*place_.parent, place_.tree_name, base->second->what, false));
  }
  for (const auto& [directory, modified_at] : touched_) {
    if (!directory.empty()) {  // another thing may have its name now
      const auto present = place_.tree->status(directory);
      if (!present.ok() || !S_ISDIR(present->st_mode)) continue;
    }
    const struct ::timespec time = to_timespec(modified_at);
    const absl::Status set = directory.empty() ? place_.parent->set_times(place_.tree_name, time, time)
                                               : place_.tree->set_times(directory, time, time);
    if (!set.ok() && !is_absent(set)) return set;
  }
  return absl::OkStatus();
}

absl::Status incoming_adoption::finish(const adopted_tree& done) {
  UNDERSTUDY_RETURN_IF_ERROR(place_.fs->sync_file_system(*place_.tree));
  v1::FileListing adopted;  // `copy`: what was set aside
  adopted.set_copy(done.set_aside);
  for (const std::string& path : done.diverged.paths) adopted.add_entries()->set_path(path);
  to_message(std::chrono::duration_cast<std::chrono::nanoseconds>(
                 std::chrono::system_clock::now().time_since_epoch())
                 .count(),
             *adopted.mutable_memory()->mutable_in_step_until());
  UNDERSTUDY_RETURN_IF_ERROR(os::replace_file(*place_.area, name_ + ".adopted", adopted.SerializeAsString()));
  // First what would be done again; the decision last.
  UNDERSTUDY_RETURN_IF_ERROR(ignore_absence(where_.remove_file("log")));
  UNDERSTUDY_RETURN_IF_ERROR(where_.sync());
  UNDERSTUDY_RETURN_IF_ERROR(ignore_absence(where_.remove_file(saved_name)));
  UNDERSTUDY_RETURN_IF_ERROR(where_.remove_file(decision_name));
  return where_.sync();
}

}  // namespace understudy::files
