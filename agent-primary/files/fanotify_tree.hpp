#pragma once

// A tree watched by fanotify: one mark for the whole file system, so no limit of watches, which needs
// CAP_SYS_ADMIN (kernel 5.17). Its events name the directory by its file handle (name_to_handle_at) and the
// entry by its name. Equal ones are merged into the earliest that still waits, so they do not come in the
// order of what happened: an event about a directory is taken as a reason to look who has that name now.

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent-primary/files/watched_tree.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::files {

class fanotify_tree final : public watched_tree {
 public:
  using watched_tree::watched_tree;

  int descriptor() const override { return fanotify_.value(); }
  void read_events() override;
  void caught_up() override;

  // An entry as an event names it: the directory's key, and the name in it; "." is the directory itself.
  struct named {
    std::string key{};
    std::string name{};
  };
  struct event {
    std::uint64_t mask = 0;
    named entry{};  // for a rename: what it was
    named other{};  // for a rename: what it is
  };

 private:
  absl::Status open_queue() override;
  std::string watch(os::directory& opened) override;
  void unwatch(const std::string&) override {}  // what is not known is not listened to

  void handle(const event& what);
  void handle_file(std::uint64_t mask, const std::string& path);
  void handle_rename(const event& what, bool is_directory);
  // Finds out which directory `name` in `parent` is now.
  void look(directory& parent, const std::string& name);
  // The directory by the path that it is known under; null if that leads elsewhere by now.
  os::directory* open_as_known(const directory& d, std::unique_ptr<os::directory>& holder);
  void set_aside(directory& parent, const std::string& name);

  os::unique_fd fanotify_;
  std::set<std::string> marked_;  // file systems, by their identity
  // Their name has passed to another, and where they are a later event tells, or nothing: they left the tree.
  std::vector<std::unique_ptr<directory>> aside_;
  std::set<std::string>
      unsure_;  // keys of directories that could not be looked at when an event asked for it
};

}  // namespace understudy::files
