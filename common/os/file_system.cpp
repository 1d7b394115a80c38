#include "common/os/file_system.hpp"

#include <fmt/core.h>

#include <utility>

#include "common/os/relative_path.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::os {

absl::Status make_directories(file_system& fs, std::string_view absolute_path, mode_t permissions) {
  std::string path(absolute_path);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const auto present = fs.open_root(path);
  if (present.ok()) return absl::OkStatus();
  if (!absl::IsNotFound(present.status())) return present.status();
  const auto [parent, name] = split_parent(path);
  const std::string above = parent.empty() ? "/" : parent;
  UNDERSTUDY_RETURN_IF_ERROR(make_directories(fs, above, permissions));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto d, fs.open_root(above));
  // Another thread may have made it meanwhile: the sync below is needed all the same.
  if (const absl::Status made = d->make_directory(name, permissions);
      !made.ok() && !absl::IsAlreadyExists(made)) {
    return made;
  }
  return d->sync();
}

absl::Status replace_file(directory& d, std::string_view path, std::string_view content, mode_t permissions) {
  UNDERSTUDY_RETURN_IF_ERROR(check_relative_path(path));
  const auto [parent, name] = split_parent(path);
  std::unique_ptr<directory> owned;
  if (!parent.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(owned, d.open_directory(parent));
  }
  directory& at = owned != nullptr ? *owned : d;
  // One fixed name, so that a crash leaves at most one remainder, which the next call takes away.
  const std::string temporary = fmt::format(".{}.new", name);
  if (const absl::Status removed = at.remove_file(temporary); !removed.ok() && !absl::IsNotFound(removed)) {
    return removed;
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto f, at.open(temporary, open_mode::create_new, permissions));
  UNDERSTUDY_RETURN_IF_ERROR(f->write_at(std::as_bytes(std::span(content)), 0));
  UNDERSTUDY_RETURN_IF_ERROR(f->sync_data());
  UNDERSTUDY_RETURN_IF_ERROR(at.rename(temporary, at, name));
  return at.sync();
}

}  // namespace understudy::os
