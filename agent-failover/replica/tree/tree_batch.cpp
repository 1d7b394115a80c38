#include "agent-failover/replica/tree/tree_batch.hpp"

#include <fmt/core.h>

#include <chrono>
#include <utility>

#include "agent-failover/replica/tree/remove_tree.hpp"
#include "agent-failover/replica/tree/tree_change.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t few = 4;  // up to here single syncs are faster than syncing the filesystem (measured)

std::span<const std::byte> bytes_of(std::string_view content) {
  return std::as_bytes(std::span(content.data(), content.size()));
}

}  // namespace

absl::Status tree_batch::apply(std::span<const v1::FileChange> changes,
                               std::vector<v1::FileRefusal>& refusals) {
  std::vector<staged_change> staged(changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) stage(changes[i], staged[i]);
  UNDERSTUDY_RETURN_IF_ERROR(sync_staged(staged));
  outcomes_.reserve(changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    absl::Status status = staged[i].status;
    outcome_ = {};
    outcome_.done = true;
    if (status.ok()) status = publish(changes[i], staged[i]);
    outcome_.done = outcome_.done && status.ok();
    outcomes_.push_back(outcome_);
    if (status.ok()) continue;
    if (staged[i].file) place_.staging->discard(staged[i].file->name);
    add_refusal(changes[i], status, refusals);
  }
  return finish();
}

void tree_batch::stage(const v1::FileChange& change, staged_change& staged) {
  staged.status = [&]() -> absl::Status {
    if (change.change_case() == v1::FileChange::kAttributes) {
      UNDERSTUDY_ASSIGN_OR_RETURN(staged.what, from_message(change.attributes(), true));
      return absl::OkStatus();
    }
    if (change.change_case() != v1::FileChange::kPut) return absl::OkStatus();
    const v1::FilePut& put = change.put();
    UNDERSTUDY_ASSIGN_OR_RETURN(staged.what, from_message(put.entry(), false));
    const entry& e = staged.what;
    const bool wanted = e.kind == entry_kind::directory ? place_.matcher->includes_directory(e.path)
                                                        : place_.matcher->includes_file(e.path);
    if (!wanted) return refuse(e.path, "it is not among the files selected");
    if (e.kind != entry_kind::regular) return absl::OkStatus();
    UNDERSTUDY_ASSIGN_OR_RETURN(staged_file file, stage_content(place_, put, e));
    staged.file = std::move(file);
    return place_.dress(*staged.file->file, e);
  }();
}

absl::Status tree_batch::sync_staged(std::vector<staged_change>& staged) {
  std::size_t count = 0;
  for (const staged_change& change : staged) count += change.file ? 1 : 0;
  if (count >= few) UNDERSTUDY_RETURN_IF_ERROR(place_.fs->sync_file_system(place_.staging->where()));
  for (staged_change& change : staged) {
    if (!change.file) continue;
    if (count < few) UNDERSTUDY_RETURN_IF_ERROR(change.file->file->sync_data());
    change.file->file.reset();
  }
  return absl::OkStatus();
}

absl::Status tree_batch::publish(const v1::FileChange& change, staged_change& staged) {
  switch (change.change_case()) {
    case v1::FileChange::kPut:
      return put(change.put(), staged);
    case v1::FileChange::kRemove:
      return remove(change.remove().path());
    case v1::FileChange::kRename:
      return rename(change.rename());
    case v1::FileChange::kAttributes:
      return set_attributes(staged.what);
    case v1::FileChange::kAppend:
      return append(change.append());
    case v1::FileChange::kLink:
      return link(change.link());
    case v1::FileChange::CHANGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a change of an unknown kind");
}

absl::Status tree_batch::put(const v1::FilePut&, staged_change& staged) {
  const entry& e = staged.what;
  note(e);
  if (e.kind == entry_kind::directory) return put_directory(e);
  if (e.kind == entry_kind::regular) return move_in(staged.file->name, e.path);
  const std::string name = place_.staging->new_name();
  UNDERSTUDY_RETURN_IF_ERROR(place_.staging->where().make_symlink(e.target, name));
  absl::Status moved = place_.dress(place_.staging->where(), name, e, true);
  if (moved.ok()) moved = move_in(name, e.path);
  if (!moved.ok()) place_.staging->discard(name);
  return moved;
}

absl::Status tree_batch::put_directory(const entry& e) {
  const absl::StatusOr<struct ::stat> present = place_.tree->status(e.path);
  outcome_.existed = present.ok() && S_ISDIR(present->st_mode);
  if (!present.ok() || !S_ISDIR(present->st_mode)) {
    if (present.ok()) UNDERSTUDY_RETURN_IF_ERROR(make_way(e.path, true));
    UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(e.path)));
    UNDERSTUDY_RETURN_IF_ERROR(place_.tree->make_directory(e.path, 0700));
  }
  UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*place_.tree, e.path, e, false));
  touched_[e.path] = e.modified_at;
  return absl::OkStatus();
}

absl::Status tree_batch::move_in(const std::string& staged_name, std::string_view path) {
  if (place_.matcher->is_database(path)) return refuse(path, "a protected database has this name");
  absl::Status touched = touch(parent_of(path));
  if (absl::IsNotFound(touched)) {
    UNDERSTUDY_RETURN_IF_ERROR(open_or_make_directory(*place_.tree, parent_of(path), 0755).status());
    touched = touch(parent_of(path));
  }
  UNDERSTUDY_RETURN_IF_ERROR(touched);
  UNDERSTUDY_RETURN_IF_ERROR(make_way(path, false));
  return place_.staging->where().rename(staged_name, *place_.tree, path);
}

absl::Status tree_batch::make_way(std::string_view path, bool for_directory) {
  const absl::StatusOr<struct ::stat> present = place_.tree->status(path);
  if (is_absent(present.status())) return absl::OkStatus();
  if (!present.ok()) return present.status();
  if (S_ISDIR(present->st_mode) || for_directory) {
    UNDERSTUDY_RETURN_IF_ERROR(take_away(path));
    outcome_.made_way = *present;
    return absl::OkStatus();
  }
  outcome_.existed = true;
  return absl::OkStatus();  // a rename replaces it
}

absl::Status tree_batch::check_free_of_databases(std::string_view path) const {
  if (place_.matcher->is_database(path) || place_.matcher->has_database_below(path)) {
    return refuse(path, "a protected database lies there");
  }
  if (path == reserved_name || is_below(path, reserved_name)) return refuse(path, "the name is reserved");
  return absl::OkStatus();
}

absl::Status tree_batch::take_away(std::string_view path) {
  UNDERSTUDY_RETURN_IF_ERROR(check_free_of_databases(path));
  UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(path)));
  forget_below(path);
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, place_.tree->status(path));
  // A file with other names is not lost with this one; in the trash the name would count as a link of it.
  if (S_ISREG(status.st_mode) && status.st_nlink > 1) return place_.tree->remove_file(path);
  std::uint64_t bytes = kept_bytes(S_ISDIR(status.st_mode) ? 0 : static_cast<std::uint64_t>(status.st_size));
  if (S_ISDIR(status.st_mode)) {
    std::map<ino_t, std::vector<std::string>> linked;
    std::map<ino_t, nlink_t> names;
    tree_reader reader(*place_.tree, *place_.matcher, false);
    reader.walk(
        path,
        [&](observation&& found) {
          bytes += kept_bytes(found.what.size);
          if (found.names > 1) {
            linked[found.inode].push_back(found.what.path);
            names[found.inode] = found.names;
          }
          return true;
        },
        [](const std::string&, const absl::Status&) {});
    for (const auto& [inode, paths] : linked) {
      if (paths.size() == names[inode]) continue;  // all of them go
      for (const std::string& name : paths) UNDERSTUDY_RETURN_IF_ERROR(place_.tree->remove_file(name));
    }
  }
  return place_.trash->take(*place_.tree, path, bytes, std::chrono::system_clock::now());
}

absl::Status tree_batch::remove(std::string_view path) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(path));
  const absl::StatusOr<struct ::stat> present = place_.tree->status(path);
  if (is_absent(present.status())) {
    outcome_.done = false;
    return absl::OkStatus();  // idempotent
  }
  if (!present.ok()) return present.status();
  note(*present);
  if (S_ISDIR(present->st_mode)) return remove_contents(path);
  return take_away(path);
}

// A directory goes as a whole unless something in it was never selected: that is not the sender's to remove.
absl::Status tree_batch::remove_contents(std::string_view directory) {
  std::vector<std::string> pending{std::string(directory)};
  std::vector<std::string> directories;
  std::vector<std::string> files;
  bool whole = !place_.matcher->has_database_below(directory);
  while (!pending.empty()) {
    std::string here = std::move(pending.back());
    pending.pop_back();
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto opened, place_.tree->open_directory(here));
    UNDERSTUDY_RETURN_IF_ERROR(opened->list([&](const os::directory_entry& found) {
      std::string path = join(here, found.name);
      const bool selected = found.type == S_IFDIR
                                ? place_.matcher->includes_directory(path)
                                : kind_of(found.type) && place_.matcher->includes_file(path);
      whole = whole && selected;
      if (selected) (found.type == S_IFDIR ? pending : files).push_back(std::move(path));
      return true;
    }));
    directories.push_back(std::move(here));
  }
  if (whole) return take_away(directory);
  for (const std::string& file : files) UNDERSTUDY_RETURN_IF_ERROR(take_away(file));
  for (auto d = directories.rbegin(); d != directories.rend(); ++d) {
    UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(*d)));
    if (place_.tree->remove_directory(*d).ok()) forget_below(*d);
  }
  return absl::OkStatus();
}

absl::Status tree_batch::rename(const v1::FileRename& change) {
  const std::string& from = change.from();
  const std::string& to = change.to();
  UNDERSTUDY_RETURN_IF_ERROR(check_path(from));
  UNDERSTUDY_RETURN_IF_ERROR(check_path(to));
  if (from == to || is_below(from, to) || is_below(to, from)) return refuse(to, "a rename into itself");
  UNDERSTUDY_RETURN_IF_ERROR(check_free_of_databases(from));
  UNDERSTUDY_RETURN_IF_ERROR(check_free_of_databases(to));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, place_.tree->status(from));
  note(status);
  const bool is_directory = S_ISDIR(status.st_mode);
  if (is_directory ? !place_.matcher->includes_directory(to) : !place_.matcher->includes_file(to)) {
    return refuse(to, "it is not among the files selected");
  }
  if (const auto target = place_.tree->status(to); target.ok()) {
    // rename(2) between two names of one file does nothing.
    if (target->st_ino == status.st_ino && target->st_dev == status.st_dev) return remove(from);
  }
  UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(from)));
  UNDERSTUDY_RETURN_IF_ERROR(touch(parent_of(to)));
  if (is_directory) UNDERSTUDY_RETURN_IF_ERROR(touch(from));
  UNDERSTUDY_RETURN_IF_ERROR(make_way(to, is_directory));
  UNDERSTUDY_RETURN_IF_ERROR(place_.tree->rename(from, *place_.tree, to));
  if (is_directory) moved(from, to);
  return absl::OkStatus();
}

absl::Status tree_batch::append(const v1::FileAppend& change) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const entry e, from_message(change.entry(), false));
  note(e);
  if (e.kind != entry_kind::regular || e.size < change.offset() ||
      e.size - change.offset() != change.content().size()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: an append whose sizes do not agree", printable(e.path)));
  }
  if (!place_.matcher->includes_file(e.path)) return refuse(e.path, "it is not among the files selected");
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, place_.tree->open(e.path, os::open_mode::read_write));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, file->status());
  if (static_cast<std::uint64_t>(status.st_size) != change.offset())
    return refuse(e.path, "it has another size");
  if (status.st_nlink > 1) return refuse(e.path, "it has several names");
  const absl::Status written = file->write_at(bytes_of(change.content()), change.offset());
  if (!written.ok()) {
    UNDERSTUDY_RETURN_IF_ERROR(file->truncate(change.offset()));
    return written;
  }
  UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*file, e));
  return file->sync_data();
}

absl::Status tree_batch::link(const v1::FileLink& change) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(change.existing()));
  UNDERSTUDY_RETURN_IF_ERROR(check_path(change.path()));
  if (!place_.matcher->includes_file(change.path()) || !place_.matcher->includes_file(change.existing())) {
    return refuse(change.path(), "it is not among the files selected");
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat existing, place_.tree->status(change.existing()));
  if (!S_ISREG(existing.st_mode)) return refuse(change.existing(), "not a regular file");
  note(existing);
  if (const auto present = place_.tree->status(change.path()); present.ok()) {
    if (present->st_ino == existing.st_ino && present->st_dev == existing.st_dev) {
      outcome_.done = false;
      return absl::OkStatus();
    }
  }
  const std::string name = place_.staging->new_name();
  UNDERSTUDY_RETURN_IF_ERROR(place_.tree->make_hard_link(change.existing(), place_.staging->where(), name));
  const absl::Status moved_in = move_in(name, change.path());
  if (!moved_in.ok()) place_.staging->discard(name);
  return moved_in;
}

absl::Status tree_batch::set_attributes(const entry& e) {
  note(e);
  if (e.path == base_path) {
    if (e.kind != entry_kind::directory) return refuse(e.path, "it has another kind");
    UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*place_.parent, place_.tree_name, e, false));
    touched_[""] = e.modified_at;
    return absl::OkStatus();
  }
  if (place_.matcher->is_database(e.path)) return refuse(e.path, "a protected database has this name");
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat present, place_.tree->status(e.path));
  if (kind_of(present.st_mode) != e.kind) return refuse(e.path, "it has another kind");
  switch (e.kind) {
    case entry_kind::directory:
      UNDERSTUDY_RETURN_IF_ERROR(place_.dress(*place_.tree, e.path, e, false));
      touched_[e.path] = e.modified_at;
      return absl::OkStatus();
    case entry_kind::regular: {
      if (static_cast<std::uint64_t>(present.st_size) != e.size) return refuse(e.path, "it has another size");
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, place_.tree->open(e.path, os::open_mode::read));
      sync_all_ = true;  // fdatasync need not write permissions
      return place_.dress(*file, e);
    }
    case entry_kind::symlink:
      sync_all_ = true;
      return place_.dress(*place_.tree, e.path, e, true);
  }
  return absl::InternalError("unknown kind");
}

void tree_batch::note(const entry& e) {
  outcome_.kind = e.kind;
  outcome_.size = e.kind == entry_kind::regular ? e.size : 0;
  outcome_.modified_at = e.modified_at;
}

void tree_batch::note(const struct ::stat& status) {
  const auto kind = kind_of(status.st_mode);
  note(entry_of(status, kind.value_or(entry_kind::regular)));
}

absl::Status tree_batch::touch(std::string_view directory) {
  if (touched_.contains(directory)) return absl::OkStatus();
  const auto status =
      directory.empty() ? place_.parent->status(place_.tree_name) : place_.tree->status(directory);
  if (!status.ok()) return status.status();
  touched_.emplace(directory, to_nanoseconds(status->st_mtim));
  return absl::OkStatus();
}

void tree_batch::moved(std::string_view from, std::string_view to) {
  forget_below(to);
  std::vector<std::pair<std::string, epoch_ns>> taken;
  for (auto at = touched_.begin(); at != touched_.end();) {
    if (at->first == from || is_below(at->first, from)) {
      taken.emplace_back(std::string(to) + at->first.substr(from.size()), at->second);
      at = touched_.erase(at);
    } else {
      ++at;
    }
  }
  touched_.insert(taken.begin(), taken.end());
}

void tree_batch::forget_below(std::string_view path) {
  std::erase_if(touched_,
                [&](const auto& t) { return t.first == path || (!path.empty() && is_below(t.first, path)); });
}

absl::Status tree_batch::finish() {
  for (const auto& [directory, modified_at] : touched_) {
    const struct ::timespec time = to_timespec(modified_at);
    const absl::Status set = directory.empty() ? place_.parent->set_times(place_.tree_name, time, time)
                                               : place_.tree->set_times(directory, time, time);
    if (!set.ok() && !is_absent(set)) return set;
  }
  if (sync_all_ || touched_.size() >= few) return place_.fs->sync_file_system(*place_.tree);
  for (const auto& [directory, modified_at] : touched_) {
    if (directory.empty()) {
      UNDERSTUDY_RETURN_IF_ERROR(place_.tree->sync());
      continue;
    }
    const auto opened = place_.tree->open_directory(directory);
    if (is_absent(opened.status())) continue;
    if (!opened.ok()) return opened.status();
    UNDERSTUDY_RETURN_IF_ERROR((*opened)->sync());
  }
  return absl::OkStatus();
}

}  // namespace understudy::files
