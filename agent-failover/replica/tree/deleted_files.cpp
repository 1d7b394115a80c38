#include "agent-failover/replica/tree/deleted_files.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <utility>

#include "agent-failover/replica/tree/trash.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {
namespace {

using std::chrono::minutes;
using std::chrono::system_clock;

deleted_file file_of(const trash_generation& from, std::string path, const struct ::stat& status) {
  return {.version = from.name,
          .path = std::move(path),
          .size = static_cast<std::uint64_t>(status.st_size),
          .modified_at = to_nanoseconds(status.st_mtim),
          .symlink = S_ISLNK(status.st_mode),
          .deleted_at = system_clock::time_point(minutes(from.minute))};
}

bool is_kept(const struct ::stat& status) {
  return S_ISREG(status.st_mode) || S_ISLNK(status.st_mode);
}

// Of this process; a name that one that was killed left is passed over.
std::string new_part_name() {
  static std::atomic<unsigned> count{0};
  return fmt::format(".understudy-{}-{}.part", ::getpid(), ++count);
}

absl::Status write_content(os::file& from, const deleted_file& what, os::directory& to,
                           const std::string& part, const std::function<bool()>& go_on) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, to.open(part, os::open_mode::create_new, 0600));
  UNDERSTUDY_RETURN_IF_ERROR(file->clone_from(from, [&](std::uint64_t, std::uint64_t) { return go_on(); }));
  const struct ::timespec time = to_timespec(what.modified_at);
  UNDERSTUDY_RETURN_IF_ERROR(file->set_times(time, time));
  return file->sync_data();
}

}  // namespace

absl::StatusOr<deleted_files> deleted_files::open(os::file_system& fs, const std::string& tree,
                                                  const std::string& beside, std::string_view name) {
  deleted_files all;
  for (const auto& [holder, path] :
       {std::pair(beside, trash_beside(name)), std::pair(tree, trash_inside())}) {
    auto held = fs.open_root(holder);
    if (is_absent(held.status())) continue;
    if (!held.ok()) return held.status();
    auto place = (*held)->open_directory(path);
    if (is_absent(place.status())) continue;
    if (!place.ok()) return place.status();
    all.places_.push_back(*std::move(place));
  }
  return all;
}

absl::Status deleted_files::list(std::string_view under, const std::function<bool(deleted_file&&)>& visit) {
  if (!under.empty()) UNDERSTUDY_RETURN_IF_ERROR(check_path(under));
  bool go_on = true;
  for (const auto& place : places_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto generations, trash_generations(*place));
    for (auto from = generations.rbegin(); from != generations.rend() && go_on; ++from) {
      const auto take = [&](std::string&& path, const struct ::stat& status) {
        if (is_kept(status)) go_on = visit(file_of(*from, path.substr(from->name.size() + 1), status));
        return go_on;
      };
      std::string top = under.empty() ? from->name : join(from->name, under);
      const auto status = place->status(top);
      if (!status.ok()) continue;  // gone, or not of this path
      if (S_ISDIR(status->st_mode)) {
        UNDERSTUDY_RETURN_IF_ERROR(each_entry(*place, top, take));
      } else if (!under.empty()) {
        take(std::move(top), *status);
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<deleted_file> deleted_files::find(std::string_view path, const deleted_version& which) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(path));
  std::optional<deleted_file> found;
  bool directory = false;
  for (const auto& place : places_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto generations, trash_generations(*place));
    for (auto from = generations.rbegin(); from != generations.rend(); ++from) {
      if (!which.name.empty() && which.name != from->name) continue;
      const bool early = which.at && system_clock::time_point(minutes(from->minute + 1)) <= *which.at;
      if (which.name.empty() && early) break;
      const auto status = place->status(join(from->name, path));
      if (!status.ok()) continue;  // gone, or not of this path
      directory = directory || S_ISDIR(status->st_mode);
      if (!is_kept(*status)) continue;
      found = file_of(*from, std::string(path), *status);
      if (!which.at || !which.name.empty()) return *std::move(found);
    }
  }
  if (found) return *std::move(found);
  if (directory) {
    return absl::InvalidArgumentError(
        fmt::format("{} was a directory: restore the files in it one by one", printable(path)));
  }
  return absl::NotFoundError(fmt::format("no such file is among the deleted ones: {}", printable(path)));
}

absl::Status deleted_files::copy(const deleted_file& what, os::directory& to, const std::string& name,
                                 const std::function<bool()>& go_on) {
  const std::string path = join(what.version, what.path);
  const auto write = [&](os::directory& place, const std::string& part) -> absl::Status {
    if (what.symlink) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const std::string target, place.read_symlink(path));
      UNDERSTUDY_RETURN_IF_ERROR(to.make_symlink(target, part));
    } else {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto from, place.open(path, os::open_mode::read));
      UNDERSTUDY_RETURN_IF_ERROR(write_content(*from, what, to, part, go_on));
    }
    UNDERSTUDY_RETURN_IF_ERROR(to.rename(part, to, name, os::rename_mode::no_replace));
    return to.sync();
  };
  for (const auto& place : places_) {
    const auto status = place->status(path);
    if (!status.ok() || S_ISLNK(status->st_mode) != what.symlink || !is_kept(*status)) continue;
    std::string part = new_part_name();
    while (to.status(part).ok()) part = new_part_name();
    absl::Status written = write(*place, part);
    if (!written.ok()) (void)to.remove_file(part);
    return written;
  }
  return absl::NotFoundError(fmt::format("{} has gone from the trash meanwhile", printable(what.path)));
}

}  // namespace understudy::files
