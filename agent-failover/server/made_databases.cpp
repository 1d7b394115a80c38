#include "agent-failover/server/made_databases.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/spec_check.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/utf8.hpp"
#include "common/status/status_macros.hpp"
#include "common/wildcard/database_pattern.hpp"

namespace understudy::server {
namespace {

constexpr const char* mark = "taken-over";

// "*" stands for any text, also none.
bool stands_for(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= text.size(); ++at) {
    if (stands_for(rest, text.substr(at))) return true;
  }
  return false;
}

bool earlier(const struct ::timespec& one, const struct ::timespec& other) {
  return std::pair(one.tv_sec, one.tv_nsec) < std::pair(other.tv_sec, other.tv_nsec);
}

std::optional<struct ::stat> look_at(const std::string& path) {
  struct ::stat found {};
  if (::lstat(path.c_str(), &found) != 0) return std::nullopt;
  return found;
}

// Written since the takeover, as the filesystem that holds both dates it.
bool is_older(const std::string& place, const std::optional<struct ::stat>& taken_over) {
  if (!taken_over) return false;
  for (const char* suffix : {"", "-wal"}) {
    const auto file = look_at(place + suffix);
    if (file && !earlier(file->st_ctim, taken_over->st_mtim)) return false;
  }
  return true;
}

// What SQLite or a heal keeps beside a database.
bool belongs_to_another(const std::string& place) {
  for (const std::string_view suffix : {"-wal", "-shm", "-journal", "-heal", "-unfinished"}) {
    if (place.ends_with(suffix) && look_at(place.substr(0, place.size() - suffix.size()))) return true;
  }
  return false;
}

}  // namespace

bool ignores_found(const v1::ServerSpec& spec, const std::string& catalog) {
  const auto& ignored = spec.ignore_found_databases();
  return std::any_of(ignored.begin(), ignored.end(),
                     [&](const std::string& pattern) { return stands_for(pattern, catalog); });
}

std::string found_problem(const v1::ServerSpec& spec, const v1::DatabaseSpec& database) {
  v1::ServerSpec with;
  *with.add_databases() = database;
  with.set_present(spec.present());
  with.set_name("x");
  with.set_address("127.0.0.1");
  const auto wrong = check(with);
  return wrong.empty() ? "" : wrong.front().description;
}

absl::Status mark_takeover(os::file_system& fs, const copy_layout& layout) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs.open_root(layout.directory()));
  return os::replace_file(*directory, mark, "what is newer below root/ was written by the stand-in\n");
}

made_databases find_made(const copy_layout& layout, const v1::ServerSpec& spec,
                         const google::protobuf::RepeatedPtrField<v1::DatabasePattern>& patterns) {
  made_databases result;
  std::error_code absent;
  const std::string root = std::filesystem::canonical(layout.place_of(""), absent).string();
  if (absent) return result;
  const std::optional<struct ::stat> taken_over = look_at(layout.directory() + "/" + mark);
  std::set<std::string> paths;
  std::set<std::string> catalogs;
  std::size_t room = wildcard::most_found;
  for (const auto& database : spec.databases()) {
    paths.insert(database.path());
    catalogs.insert(database.catalog());
    if (database.found() && room > 0) --room;
  }
  wildcard::problem_list left;
  for (const v1::DatabasePattern& pattern : patterns) {
    if (!wildcard::has_wildcard(pattern.path()) ||
        !wildcard::wildcard_problem(pattern.path(), pattern.catalog()).empty())
      continue;
    auto matches = wildcard::matches({.path = pattern.path(), .catalog = pattern.catalog()}, root);
    std::sort(matches.begin(), matches.end(), [](const auto& a, const auto& b) {
      return std::string_view(a.path) < std::string_view(b.path);
    });
    for (const wildcard::database_match& one : matches) {
      const std::string place = root + one.path;
      std::error_code unknown;
      if (!paths.insert(one.path).second || !std::filesystem::is_regular_file(place, unknown) ||
          belongs_to_another(place) || is_older(place, taken_over))
        continue;
      const auto stays = [&](const std::string& why) {
        left.add(fmt::format("{} ({})", rpc::as_utf8(one.path), why));
      };
      v1::DatabaseSpec database;
      if (std::filesystem::canonical(place, unknown).string() != place) {
        stays("a symlink leads to it");
      } else if (const std::string wrong = wildcard::name_problem(one); !wrong.empty()) {
        stays(wrong);
      } else if (ignores_found(spec, one.catalog)) {
        stays("ignore_found_databases");
      } else if (!wildcard::begins_as_database(place)) {
        stays("nothing was committed to it, or it is no SQLite database");
      } else if (catalogs.contains(one.catalog)) {
        stays(fmt::format("another database has its catalog, {}", one.catalog));
      } else if (result.bring.size() >= room) {
        stays(fmt::format("a server has at most {} found databases", wildcard::most_found));
      } else {
        database.set_catalog(one.catalog);
        database.set_path(one.path);
        *database.mutable_configuration_tables() = pattern.configuration_tables();
        database.set_found(true);
        if (const std::string refused = found_problem(spec, database); !refused.empty()) {
          stays(refused);
          continue;
        }
        catalogs.insert(one.catalog);
        result.bring.push_back(std::move(database));
      }
    }
  }
  std::sort(result.bring.begin(), result.bring.end(),
            [](const auto& a, const auto& b) { return a.path() < b.path(); });
  result.left = left.take();
  return result;
}

}  // namespace understudy::server
