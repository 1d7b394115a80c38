#include "agent-failover/replica/tree/remove_tree.hpp"

#include <string>
#include <vector>

#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {

absl::Status remove_tree(os::directory& parent, std::string_view path) {
  const absl::StatusOr<struct ::stat> status = parent.status(path);
  if (is_absent(status.status())) return absl::OkStatus();
  if (!status.ok()) return status.status();
  if (!S_ISDIR(status->st_mode)) return parent.remove_file(path);
  // A stack of its own: the depth of a tree is the peer's choice, the depth of our stack is not.
  std::vector<std::string> pending{std::string(path)};
  while (!pending.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, parent.open_directory(pending.back()));
    const std::string here = pending.back();
    absl::Status failure;
    bool empty = true;
    UNDERSTUDY_RETURN_IF_ERROR(directory->list([&](const os::directory_entry& found) {
      if (found.type == S_IFDIR) {
        pending.push_back(join(here, found.name));
        empty = false;
        return true;
      }
      failure = directory->remove_file(found.name);
      return failure.ok();
    }));
    UNDERSTUDY_RETURN_IF_ERROR(failure);
    if (empty) {
      UNDERSTUDY_RETURN_IF_ERROR(parent.remove_directory(here));
      pending.pop_back();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<os::directory>> open_or_make_directory(os::directory& parent,
                                                                      std::string_view path,
                                                                      mode_t permissions) {
  auto opened = parent.open_directory(path);
  if (opened.ok() || !absl::IsNotFound(opened.status())) return opened;
  if (const std::string_view above = parent_of(path); !above.empty()) {
    UNDERSTUDY_RETURN_IF_ERROR(open_or_make_directory(parent, above, permissions).status());
  }
  if (const absl::Status made = parent.make_directory(path, permissions);
      !made.ok() && !absl::IsAlreadyExists(made)) {
    return made;
  }
  return parent.open_directory(path);
}

}  // namespace understudy::files
