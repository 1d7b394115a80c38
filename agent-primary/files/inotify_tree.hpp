#pragma once

// A tree watched by inotify: a watch for each directory, which needs no privilege. Its events come in the
// order of what happened.

#include <sys/inotify.h>

#include <cstdint>
#include <optional>

#include "agent-primary/files/watched_tree.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::files {

class inotify_tree final : public watched_tree {
 public:
  using watched_tree::watched_tree;

  int descriptor() const override { return inotify_.value(); }
  void read_events() override;
  bool waits_for_pair() const override { return moved_from_.has_value(); }
  void give_up_pair() override;

 private:
  struct moved_away {
    std::uint32_t cookie = 0;
    std::string path;
    bool is_directory = false;
  };

  absl::Status open_queue() override;
  std::string watch(os::directory& opened) override;
  void unwatch(const std::string& key) override;

  directory* find(std::string_view path);
  void forget(std::string_view path);
  void handle(const inotify_event& event);
  void handle_entry(const inotify_event& event, directory& d);
  void moved_to(directory& parent, const std::string& name, const std::string& path, bool is_directory);

  os::unique_fd inotify_;
  std::optional<moved_away> moved_from_;
};

}  // namespace understudy::files
