#include "agent-primary/files/fanotify_tree.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/fanotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/files/tree_path.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {
namespace {

constexpr std::uint64_t events_wanted =
    FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_ONDIR;
constexpr std::chrono::milliseconds at_once{0};

using event = fanotify_tree::event;
using named = fanotify_tree::named;

std::string bytes_of(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

// The identity of the file system, as statfs(2) and events tell it.
std::string file_system_of(const os::directory& d) {
  struct ::statfs status {};
  if (::fstatfs(d.descriptor(), &status) != 0) return {};
  return bytes_of(&status.f_fsid, sizeof status.f_fsid);
}

std::string key_of(const std::string& file_system, const ::file_handle& handle) {
  return file_system + bytes_of(&handle.handle_type, sizeof handle.handle_type) +
         bytes_of(handle.f_handle, handle.handle_bytes);
}

std::string key_of(const os::directory& d) {
  alignas(::file_handle) std::array<char, sizeof(::file_handle) + MAX_HANDLE_SZ> storage{};
  auto* handle = reinterpret_cast<::file_handle*>(storage.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (::name_to_handle_at(d.descriptor(), "", handle, &mount, AT_EMPTY_PATH) != 0) return {};
  const std::string file_system = file_system_of(d);
  return file_system.empty() ? std::string{} : key_of(file_system, *handle);
}

absl::StatusOr<os::unique_fd> open_fanotify() {
  os::unique_fd opened{
      ::fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_NONBLOCK | FAN_CLOEXEC, O_RDONLY)};
  if (!opened) return errno_status(errno, "fanotify_init", "events by file handle");
  return opened;
}

absl::Status mark(const os::unique_fd& fanotify, unsigned int what, std::uint64_t events,
                  const os::directory& d) {
  const std::string path = fmt::format("/proc/self/fd/{}", d.descriptor());
  if (::fanotify_mark(fanotify.value(), FAN_MARK_ADD | what, events, AT_FDCWD, path.c_str()) != 0)
    return errno_status(errno, "fanotify_mark", "the base's file system");
  return absl::OkStatus();
}

// Reads what there is and gives each event to `handle`, which returns false to stop.
template <class Handle>
void read_from(const os::unique_fd& fanotify, Handle handle) {
  alignas(fanotify_event_metadata) std::array<char, 64 * 1024> buffer;
  ssize_t left = ::read(fanotify.value(), buffer.data(), buffer.size());
  const char* at = buffer.data();
  while (left >= static_cast<ssize_t>(sizeof(fanotify_event_metadata))) {
    fanotify_event_metadata metadata;  // copied: events begin at multiples of 4 bytes, it wants 8
    std::memcpy(&metadata, at, sizeof metadata);
    if (metadata.vers != FANOTIFY_METADATA_VERSION || metadata.event_len > left) return;
    event found{.mask = metadata.mask};
    for (std::size_t info = metadata.metadata_len; info < metadata.event_len;) {
      const auto& header = *reinterpret_cast<const fanotify_event_info_header*>(at + info);
      const bool is_other = header.info_type == FAN_EVENT_INFO_TYPE_NEW_DFID_NAME;
      if (is_other || header.info_type == FAN_EVENT_INFO_TYPE_OLD_DFID_NAME ||
          header.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME) {
        const auto& fid = reinterpret_cast<const fanotify_event_info_fid&>(header);
        const auto& file = *reinterpret_cast<const ::file_handle*>(fid.handle);
        (is_other ? found.other : found.entry) =
            named{.key = key_of(bytes_of(&fid.fsid, sizeof fid.fsid), file),
                  .name = reinterpret_cast<const char*>(file.f_handle + file.handle_bytes)};
      }
      info += header.len;
    }
    at += metadata.event_len;
    left -= metadata.event_len;
    if (!handle(found)) return;
  }
}

// Whether events of this file system say what name_to_handle_at says. Where they do not (sub-volumes,
// layers), all would be taken for strangers'. Asked by an event of our own: opening the directory changes
// nothing.
absl::Status check_names(const os::directory& d) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const os::unique_fd fanotify, open_fanotify());
  UNDERSTUDY_RETURN_IF_ERROR(mark(fanotify, FAN_MARK_INODE, FAN_OPEN | FAN_ONDIR, d));
  const std::string path = fmt::format("/proc/self/fd/{}", d.descriptor());
  const os::unique_fd opened{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  const std::string key = key_of(d);
  bool same = false;
  read_from(fanotify, [&](const event& what) {
    same = !key.empty() && what.entry.key == key;
    return !same;
  });
  if (!same) return absl::UnimplementedError("events of this file system do not name its directories");
  return absl::OkStatus();
}

}  // namespace

absl::Status fanotify_tree::open_queue() {
  UNDERSTUDY_ASSIGN_OR_RETURN(fanotify_, open_fanotify());
  UNDERSTUDY_RETURN_IF_ERROR(check_names(*root_));
  UNDERSTUDY_RETURN_IF_ERROR(mark(fanotify_, FAN_MARK_FILESYSTEM, events_wanted, *root_));
  marked_.insert(file_system_of(*root_));
  return absl::OkStatus();
}

std::string fanotify_tree::watch(os::directory& opened) {
  const std::string file_system = file_system_of(opened);
  if (!marked_.contains(file_system)) {  // mounted below the base
    if (!check_names(opened).ok() || !mark(fanotify_, FAN_MARK_FILESYSTEM, events_wanted, opened).ok()) {
      ran_out_ = true;
      return {};
    }
    marked_.insert(file_system);
  }
  std::string key = key_of(opened);
  ran_out_ = ran_out_ || key.empty();
  return key;
}

void fanotify_tree::read_events() {
  read_from(fanotify_, [this](const event& what) {
    handle(what);
    return !lost_;
  });
}

void fanotify_tree::handle(const event& what) {
  if ((what.mask & FAN_Q_OVERFLOW) != 0) {
    lost_ = true;
    return;
  }
  const bool is_directory = (what.mask & FAN_ONDIR) != 0;
  if ((what.mask & FAN_RENAME) != 0) handle_rename(what, is_directory);
  directory* const parent = known(what.entry.key);
  if (parent == nullptr || (what.mask & ~std::uint64_t{FAN_RENAME | FAN_ONDIR}) == 0) return;
  const std::string directory_path = path_of(*parent);
  if (what.entry.name == ".") return mark_directory(directory_path);
  const std::string path = join(directory_path, what.entry.name);
  if (is_directory ? !matcher_.includes_directory(path) : !matcher_.includes_file(path)) return;
  if ((what.mask & (FAN_CREATE | FAN_DELETE)) != 0) {
    mark_directory(directory_path);
    if (is_directory) look(*parent, what.entry.name);
  }
  if (!is_directory) handle_file(what.mask, path);
}

void fanotify_tree::handle_file(std::uint64_t mask, const std::string& path) {
  if ((mask & FAN_DELETE) != 0) dirty_.mark_gone(path);
  if ((mask & FAN_CLOSE_WRITE) != 0) {
    dirty_.mark(path, true, false, at_once);
  } else if ((mask & FAN_MODIFY) != 0) {
    dirty_.mark(path, true, false, options_.written_delay);
  } else if ((mask & FAN_CREATE) != 0) {
    dirty_.mark(path, true, false, options_.created_delay);
  }
  if ((mask & FAN_ATTRIB) != 0) dirty_.mark(path, false, false, at_once);
}

void fanotify_tree::handle_rename(const event& what, bool is_directory) {
  const auto included = [&](const directory* parent, const std::string& name) {
    if (parent == nullptr) return false;
    const std::string path = join(path_of(*parent), name);
    return is_directory ? matcher_.includes_directory(path) : matcher_.includes_file(path);
  };
  directory* const left = known(what.entry.key);
  directory* const entered = known(what.other.key);
  const bool was_here = included(left, what.entry.name);
  const bool is_here = included(entered, what.other.name);
  if (was_here) mark_directory(path_of(*left));
  if (is_here) mark_directory(path_of(*entered));
  if (is_directory) {
    if (is_here) look(*entered, what.other.name);
    // The first look may have moved the second's directory, but never ends it.
    if (was_here && !lost_) look(*left, what.entry.name);
    return;
  }
  if (was_here && is_here) {
    dirty_.mark_renamed(join(path_of(*left), what.entry.name), join(path_of(*entered), what.other.name));
  } else if (is_here) {
    dirty_.mark(join(path_of(*entered), what.other.name), true, false, at_once);
  } else if (was_here) {
    dirty_.mark_gone(join(path_of(*left), what.entry.name));
  }
}

os::directory* fanotify_tree::open_as_known(const directory& d, std::unique_ptr<os::directory>& holder) {
  if (&d == &top_) return root_.get();
  auto opened = root_->open_directory(path_of(d));
  if (!opened.ok() || key_of(**opened) != d.key) return nullptr;
  holder = *std::move(opened);
  return holder.get();
}

void fanotify_tree::look(directory& parent, const std::string& name) {
  std::unique_ptr<os::directory> holder;
  os::directory* const opened = open_as_known(parent, holder);
  if (opened == nullptr) {  // it has moved on itself, which a later event tells
    unsure_.insert(parent.key);
    return;
  }
  const std::string path = join(path_of(parent), name);
  const auto found = opened->open_directory(name);
  const std::string key = found.ok() ? key_of(**found) : std::string{};
  if (const auto child = parent.children.find(name); child != parent.children.end()) {
    if (!key.empty() && child->second->key == key) return;
    set_aside(parent, name);
  }
  if (!found.ok()) return dirty_.mark_gone(path);
  directory* const moved = key.empty() ? nullptr : known(key);
  if (moved == nullptr) return begin_directory(parent, name, path);
  for (const directory* at = &parent; at != nullptr; at = at->parent) {
    lost_ = lost_ || at == moved;  // changed between two looks
  }
  if (lost_) return;
  const std::string before = path_of(*moved);
  if (moved->parent != nullptr) {
    move(*moved, parent, name);
  } else {
    const auto at =
        std::find_if(aside_.begin(), aside_.end(), [&](const auto& d) { return d.get() == moved; });
    moved->name = name;
    moved->parent = &parent;
    parent.children[name] = std::move(*at);
    aside_.erase(at);
  }
  dirty_.mark_renamed(before, path);
}

void fanotify_tree::set_aside(directory& parent, const std::string& name) {
  auto taken = parent.children.extract(name);
  directory& d = *taken.mapped();
  d.name = path_of(d);
  d.parent = nullptr;
  aside_.push_back(std::move(taken.mapped()));
}

void fanotify_tree::caught_up() {
  for (const auto& gone : std::exchange(aside_, {})) {
    drop(*gone);
    dirty_.mark_gone(gone->name);
  }
  for (const std::string& key : std::exchange(unsure_, {})) {
    directory* const d = known(key);
    if (d == nullptr) continue;
    std::unique_ptr<os::directory> holder;
    os::directory* const opened = open_as_known(*d, holder);
    std::set<std::string> names;
    for (const auto& [name, child] : d->children) names.insert(name);
    const std::string path = path_of(*d);
    if (opened == nullptr ||
        !opened
             ->list([&](const os::directory_entry& entry) {
               if (entry.type == S_IFDIR && matcher_.includes_directory(join(path, entry.name)))
                 names.insert(entry.name);
               return true;
             })
             .ok()) {
      lost_ = true;  // every event is known, and it is not where they say
      return;
    }
    for (const std::string& name : names) look(*d, name);
    mark_directory(path);
    dirty_.mark(path, false, true, at_once);
  }
}

}  // namespace understudy::files
