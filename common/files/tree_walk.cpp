#include "common/files/tree_walk.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/files/tree_path.hpp"
#include "common/files/xattrs.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {

bool is_absent(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status) ||
         message_of(status).find("(ELOOP)") != std::string_view::npos;
}

std::optional<observation> tree_reader::make(os::directory& parent, const std::string& name, std::string path,
                                             const struct ::stat& status) {
  const std::optional<entry_kind> kind = kind_of(status.st_mode);
  if (!kind) {
    if (special_ && matcher_.includes_file(path)) special_(path, status.st_mode);
    return std::nullopt;
  }
  if (*kind == entry_kind::directory ? !matcher_.includes_directory(path) : !matcher_.includes_file(path)) {
    return std::nullopt;
  }
  observation found{.what = entry_of(status, *kind),
                    .device = status.st_dev,
                    .inode = status.st_ino,
                    .changed_at = to_nanoseconds(status.st_ctim),
                    .names = *kind == entry_kind::regular ? status.st_nlink : 1};
  found.what.path = std::move(path);
  found.what.owner = owners_.user(status.st_uid);
  found.what.group = owners_.group(status.st_gid);
  if (*kind == entry_kind::symlink) {
    absl::StatusOr<std::string> target = parent.read_symlink(name);
    if (!target.ok()) return std::nullopt;  // replaced meanwhile: an event tells
    found.what.target = *std::move(target);
  } else if (with_attributes_) {
    found.what.attributes = read_attributes_at(parent.descriptor(), name);
  }
  return found;
}

absl::StatusOr<std::optional<observation>> tree_reader::observe(std::string_view path) {
  if (path.empty() || path == base_path) {
    struct ::stat status {};
    if (::fstat(root_.descriptor(), &status) != 0) return absl::UnavailableError("the base cannot be read");
    observation found{.what = entry_of(status, entry_kind::directory),
                      .device = status.st_dev,
                      .inode = status.st_ino,
                      .changed_at = to_nanoseconds(status.st_ctim),
                      .names = 1};
    found.what.path = std::string(base_path);
    found.what.owner = owners_.user(status.st_uid);
    found.what.group = owners_.group(status.st_gid);
    if (with_attributes_) found.what.attributes = read_attributes(root_.descriptor());
    return found;
  }
  const std::string parent_path(parent_of(path));
  const std::string name(name_of(path));
  os::directory* parent = &root_;
  std::unique_ptr<os::directory> opened;
  if (!parent_path.empty()) {
    auto directory = root_.open_directory(parent_path);
    if (is_absent(directory.status())) return std::nullopt;
    if (!directory.ok()) return directory.status();
    opened = *std::move(directory);
    parent = opened.get();
  }
  const absl::StatusOr<struct ::stat> status = parent->status(name);
  if (is_absent(status.status())) return std::nullopt;
  if (!status.ok()) return status.status();
  return make(*parent, name, std::string(path), *status);
}

absl::Status tree_reader::list(std::string_view directory, const std::function<void(observation&&)>& visit) {
  os::directory* parent = &root_;
  std::unique_ptr<os::directory> opened;
  if (!directory.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(opened, root_.open_directory(directory));
    parent = opened.get();
  }
  absl::Status failure;
  UNDERSTUDY_RETURN_IF_ERROR(parent->list([&](const os::directory_entry& listed) {
    std::string path = join(directory, listed.name);
    if (listed.type == S_IFDIR ? !matcher_.includes_directory(path) : !matcher_.includes_file(path))
      return true;
    const absl::StatusOr<struct ::stat> status = parent->status(listed.name);
    if (is_absent(status.status())) return true;
    if (!status.ok()) {
      failure = status.status();
      return false;
    }
    if (auto found = make(*parent, listed.name, std::move(path), *status)) visit(*std::move(found));
    return true;
  }));
  return failure;
}

void tree_reader::walk(std::string_view directory, const std::function<bool(observation&&)>& visit,
                       const std::function<void(const std::string&, const absl::Status&)>& failed) {
  std::vector<std::string> pending{std::string(directory)};
  while (!pending.empty()) {
    const std::string next = std::move(pending.back());
    pending.pop_back();
    bool go_on = true;
    const absl::Status listed = list(next, [&](observation&& found) {
      if (!go_on) return;
      if (found.what.kind == entry_kind::directory) pending.push_back(found.what.path);
      go_on = visit(std::move(found));
    });
    if (!listed.ok() && (next == directory || !is_absent(listed))) failed(next, listed);
    if (!go_on) break;
  }
}

}  // namespace understudy::files
