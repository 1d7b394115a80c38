#include "agent-primary/files/watched_tree.hpp"

#include <chrono>
#include <utility>
#include <vector>

#include "common/files/tree_path.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {
namespace {

constexpr std::chrono::milliseconds at_once{0};

}  // namespace

absl::Status watched_tree::start() {
  UNDERSTUDY_ASSIGN_OR_RETURN(root_, os::posix_file_system().open_root(options_.root));
  struct ::stat status {};
  if (::fstat(root_->descriptor(), &status) != 0) return absl::UnavailableError("the base cannot be read");
  device_ = status.st_dev;
  inode_ = status.st_ino;
  UNDERSTUDY_RETURN_IF_ERROR(open_queue());
  watch_below(top_);
  begun_ = true;
  dirty_.mark_everything();
  return absl::OkStatus();
}

bool watched_tree::is_same_base() const {
  struct ::stat status {};
  return ::stat(options_.root.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

std::string watched_tree::path_of(const directory& d) {
  std::vector<const directory*> way;
  const directory* at = &d;
  for (; at->parent != nullptr; at = at->parent) way.push_back(at);
  std::string path = at->name;
  for (auto next = way.rbegin(); next != way.rend(); ++next) path = join(path, (*next)->name);
  return path;
}

watched_tree::directory* watched_tree::known(const std::string& key) {
  const auto at = by_key_.find(key);
  return at == by_key_.end() ? nullptr : at->second;
}

void watched_tree::watch_below(directory& first) {
  std::vector<directory*> pending{&first};
  while (!pending.empty()) {
    directory& d = *pending.back();
    pending.pop_back();
    const std::string path = path_of(d);
    std::unique_ptr<os::directory> opened;
    os::directory* here = root_.get();
    if (!path.empty()) {
      auto found = root_->open_directory(path);
      if (!found.ok()) continue;  // gone again: its parent tells
      opened = *std::move(found);
      here = opened.get();
    }
    d.key = watch(*here);
    if (!d.key.empty()) by_key_[d.key] = &d;
    (void)here->list([&](const os::directory_entry& found) {
      std::string child_path = join(path, found.name);
      if (found.type == S_IFDIR) {
        if (!matcher_.includes_directory(child_path)) return true;
        auto& child = d.children[found.name];
        if (child == nullptr) child = std::make_unique<directory>();
        child->parent = &d;
        child->name = found.name;
        pending.push_back(child.get());
      } else if (begun_ && &d != &top_ && matcher_.includes_file(child_path)) {
        dirty_.mark(child_path, false, false, options_.created_delay);
      }
      return true;
    });
  }
}

void watched_tree::begin_directory(directory& parent, const std::string& name, const std::string& path) {
  auto& child = parent.children[name];
  if (child != nullptr) drop(*child);
  child = std::make_unique<directory>();
  child->parent = &parent;
  child->name = name;
  watch_below(*child);
  dirty_.mark(path, false, true, at_once);
}

void watched_tree::drop(directory& d) {
  for (auto& [name, child] : d.children) drop(*child);
  const auto at = by_key_.find(d.key);
  if (at == by_key_.end() || at->second != &d) return;
  unwatch(d.key);
  by_key_.erase(at);
}

void watched_tree::unwatched(directory& d) {
  by_key_.erase(d.key);
  d.key.clear();
}

void watched_tree::move(directory& moved, directory& parent, const std::string& name) {
  auto taken = moved.parent->children.extract(moved.parent->children.find(moved.name));
  taken.key() = name;
  moved.name = name;
  moved.parent = &parent;
  parent.children.insert(std::move(taken));
}

void watched_tree::mark_directory(const std::string& path) {
  dirty_.mark(path.empty() ? base_path : path, false, false, at_once);
}

}  // namespace understudy::files
