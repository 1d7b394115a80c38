#include "agent-failover/server/copy_layout.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "agent-failover/replica/database_copy.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

std::string parent_of(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

}  // namespace

copy_layout::copy_layout(std::string_view data_dir, const v1::ServerSpec& spec)
    : name_(spec.name()),
      directory_(spec.local_dir().empty() ? fmt::format("{}/servers/{}", data_dir, spec.name())
                                          : spec.local_dir()) {}

std::string copy_layout::place_of(std::string_view primary_path) const {
  return fmt::format("{}/root{}", directory_, primary_path);
}

void copy_layout::remove_unfinished(const v1::DatabaseSpec& database) const {
  std::error_code absent;
  std::filesystem::remove(place_of(database.path()) + replica::unfinished_suffix, absent);
}

absl::Status copy_layout::prepare(os::file_system& fs, const v1::ServerSpec& spec) const {
  for (const char* below : {"/root", "/db", "/set-aside", "/run"}) {
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, directory_ + below));
  }
  for (const auto& tree : spec.files()) {
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, place_of(tree.base())));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(auto links, fs.open_root(directory_ + "/db"));
  for (const auto& database : spec.databases()) {
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, parent_of(place_of(database.path()))));
    const std::string link = fmt::format("{}_{}.db", name_, database.catalog());
    const std::string target = "../root" + database.path();
    if (auto present = links->read_symlink(link); present.ok() && *present == target) continue;
    if (absl::Status removed = links->remove_file(link); !removed.ok() && !absl::IsNotFound(removed))
      return removed;
    UNDERSTUDY_RETURN_IF_ERROR(links->make_symlink(target, link));
  }
  return links->sync();
}

std::vector<std::string> copy_layout::without_copy(os::file_system& fs, const v1::ServerSpec& spec) const {
  std::vector<std::string> missing;
  for (const auto& database : spec.databases()) {
    if (database.found()) continue;
    const std::string place = place_of(database.path());
    const auto slash = place.rfind('/');
    const auto directory = fs.open_root(place.substr(0, slash));
    const auto file = directory.ok() ? (*directory)->status(place.substr(slash + 1)) : directory.status();
    if (!file.ok() || file->st_size == 0) missing.push_back(database.catalog());
  }
  return missing;
}

std::vector<std::string> presented_directories(const v1::ServerSpec& spec) {
  std::vector<std::string> all;
  for (const auto& database : spec.databases()) all.push_back(parent_of(database.path()));
  for (const auto& tree : spec.files()) all.push_back(tree.base());
  std::sort(all.begin(), all.end());
  std::vector<std::string> outermost;
  for (const auto& directory : all) {
    // Against all of them: "/a-b" sorts between "/a" and "/a/c".
    const bool inside = std::any_of(outermost.begin(), outermost.end(), [&](const std::string& outer) {
      return directory == outer || directory.starts_with(outer + "/");
    });
    if (!inside) outermost.push_back(directory);
  }
  return outermost;
}

absl::Status check_primary_path(std::string_view path) {
  if (path.empty() || path.front() != '/') {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is not an absolute path", path));
  }
  if (path.find('\0') != std::string_view::npos) return absl::InvalidArgumentError("a path holds a NUL byte");
  std::string_view rest = path.substr(1);
  while (true) {
    const auto slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\" has an empty, \".\" or \"..\" component: write the plain path", path));
    }
    if (slash == std::string_view::npos) return absl::OkStatus();
    rest = rest.substr(slash + 1);
  }
}

}  // namespace understudy::server
