#include "agent-failover/replica/tree/copy_place.hpp"

#include <fmt/core.h>

#include <filesystem>
#include <utility>

#include "agent-failover/replica/tree/remove_tree.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/xattrs.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {
namespace {

// Access times are not part of a copy; the modification time stands for both.
struct ::timespec time_of(const entry& e) {
  return to_timespec(e.modified_at);
}

absl::StatusOr<dev_t> device_of(os::directory& parent, std::string_view name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, parent.status(name));
  return status.st_dev;
}

// Staging and trash beside the tree, or inside it where only that is the same filesystem.
absl::Status open_area(copy_place& place, const tree_sink_options& options) {
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(*place.fs, options.beside));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto beside, place.fs->open_root(options.beside));
  std::string staging_path = join(reserved_name, options.name);
  std::string trash_path = trash_beside(options.name);
  UNDERSTUDY_ASSIGN_OR_RETURN(place.area, open_or_make_directory(*beside, reserved_name, 0700));
  UNDERSTUDY_ASSIGN_OR_RETURN(const dev_t here, device_of(*beside, reserved_name));
  UNDERSTUDY_ASSIGN_OR_RETURN(const dev_t there, device_of(*place.parent, place.tree_name));
  place.memory_file = options.name + ".memory";
  place.holder = std::move(beside);
  place.holder_path = options.beside;
  if (here != there) {
    UNDERSTUDY_ASSIGN_OR_RETURN(place.holder, place.fs->open_root(options.tree));
    place.holder_path = options.tree;
    staging_path = join(reserved_name, "staging");
    trash_path = trash_inside();
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(auto where, open_or_make_directory(*place.holder, staging_path, 0700));
  UNDERSTUDY_ASSIGN_OR_RETURN(place.staging, staging::open(std::move(where)));
  UNDERSTUDY_ASSIGN_OR_RETURN(where, open_or_make_directory(*place.holder, trash_path, 0700));
  UNDERSTUDY_ASSIGN_OR_RETURN(place.trash, trash::open(std::move(where), options.trash));
  return absl::OkStatus();
}

absl::Status try_out(copy_place& place, const tree_sink_options& options) {
  constexpr uid_t somebody_else = 65534;  // nobody: any number that is not ours
  UNDERSTUDY_ASSIGN_OR_RETURN(const staged_file probe, place.staging->write(""));
  place.attributes_kept =
      !absl::IsUnimplemented(write_attributes(probe.file->descriptor(), {{"user.understudy", "1"}}));
  const absl::Status given_away = probe.file->set_owner(somebody_else, somebody_else);
  place.owners_kept = given_away.ok();
  place.staging->discard(probe.name);
  if (!place.owners_kept) {
    log::warning(options.name, "{}: owners are not kept ({}); run with CAP_CHOWN to keep them", options.tree,
                 message_of(given_away));
  }
  if (!place.attributes_kept) {
    log::warning(options.name, "{}: its filesystem has no extended attributes; they are not kept",
                 options.tree);
  }
  return absl::OkStatus();
}

}  // namespace

std::pair<uid_t, gid_t> copy_place::owner_here(const entry& e) {
  return {owners.uid(e.owner).value_or(e.uid), owners.gid(e.group).value_or(e.gid)};
}

absl::Status copy_place::dress(os::file& file, const entry& e) {
  if (owners_kept) {
    const auto [uid, gid] = owner_here(e);
    UNDERSTUDY_RETURN_IF_ERROR(file.set_owner(uid, gid));
  }
  UNDERSTUDY_RETURN_IF_ERROR(file.set_mode(e.mode));  // after the owner: chown clears set-user-id
  if (attributes_kept) UNDERSTUDY_RETURN_IF_ERROR(write_attributes(file.descriptor(), e.attributes));
  return file.set_times(time_of(e), time_of(e));
}

absl::Status copy_place::dress(os::directory& parent_of_entry, std::string_view path, const entry& e,
                               bool with_times) {
  if (owners_kept) {
    const auto [uid, gid] = owner_here(e);
    UNDERSTUDY_RETURN_IF_ERROR(parent_of_entry.set_owner(path, uid, gid));
  }
  if (e.kind != entry_kind::symlink) UNDERSTUDY_RETURN_IF_ERROR(parent_of_entry.set_mode(path, e.mode));
  if (attributes_kept && e.kind == entry_kind::directory) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto opened, parent_of_entry.open_directory(path));
    UNDERSTUDY_RETURN_IF_ERROR(write_attributes(opened->descriptor(), e.attributes));
  }
  return with_times ? parent_of_entry.set_times(path, time_of(e), time_of(e)) : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<copy_place>> open_copy_place(os::file_system& fs,
                                                            const tree_sink_options& options) {
  auto place = std::make_unique<copy_place>();
  place->fs = &fs;
  UNDERSTUDY_ASSIGN_OR_RETURN(place->matcher, selection_matcher::make(options.what));
  const std::filesystem::path tree =
      std::filesystem::path(options.tree + "/").lexically_normal().parent_path();
  if (!tree.is_absolute() || !tree.has_filename()) {
    return absl::InvalidArgumentError(
        fmt::format("tree \"{}\": an absolute path below / is needed", options.tree));
  }
  if (check_path(options.name).ok() == false || !parent_of(options.name).empty()) {
    return absl::InvalidArgumentError(fmt::format("tree name \"{}\": one component is needed", options.name));
  }
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, tree.string()));
  UNDERSTUDY_ASSIGN_OR_RETURN(place->parent, fs.open_root(tree.parent_path().string()));
  place->tree_name = tree.filename().string();
  UNDERSTUDY_ASSIGN_OR_RETURN(place->tree, fs.open_root(tree.string()));
  UNDERSTUDY_RETURN_IF_ERROR(open_area(*place, options));
  UNDERSTUDY_RETURN_IF_ERROR(try_out(*place, options));
  return place;
}

}  // namespace understudy::files
