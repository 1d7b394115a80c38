#include "agent-primary/service/database_paths.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

#include "common/rpc/utf8.hpp"

namespace understudy::service {
namespace {

database_config made_of(const database_config& pattern, wildcard::database_match one) {
  database_config database = pattern;
  database.path = std::move(one.path);
  database.catalog = std::move(one.catalog);
  database.found = true;
  return database;
}

wildcard::database_pattern pattern_of(const database_config& database) {
  return {.path = database.path, .catalog = database.catalog};
}

}  // namespace

found_databases find_databases(const std::vector<database_config>& configured,
                               const std::set<std::string>& known, std::size_t most) {
  found_databases result;
  std::map<std::string, std::string> path_of_catalog;
  std::set<std::string> paths;
  for (const database_config& database : configured) {
    if (has_wildcard(database.path)) continue;
    result.databases.push_back(database);
    path_of_catalog[database.catalog] = database.path;
    paths.insert(database.path);
  }
  std::vector<database_config> candidates;
  for (const database_config& pattern : configured) {
    if (!has_wildcard(pattern.path)) continue;
    for (wildcard::database_match& one : wildcard::matches(pattern_of(pattern))) {
      if (paths.insert(one.path).second) candidates.push_back(made_of(pattern, std::move(one)));
    }
  }
  const auto is_new = [&](const database_config& database) { return !known.contains(database.path); };
  std::sort(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    return std::pair(is_new(a), std::string_view(a.path)) < std::pair(is_new(b), std::string_view(b.path));
  });
  const std::size_t named = result.databases.size();
  wildcard::problem_list problems;
  for (database_config& database : candidates) {
    if (is_new(database) && !wildcard::begins_as_database(database.path)) continue;
    if (result.databases.size() - named >= most) {
      // Each of the others would have to be looked into.
      problems.add(fmt::format("there are more than {} databases; the first that is not protected is {}",
                               most, rpc::as_utf8(database.path)));
      break;
    }
    if (const std::string wrong = wildcard::name_problem({database.path, database.catalog}); !wrong.empty()) {
      problems.add(fmt::format("{} is not protected: {}", rpc::as_utf8(database.path), wrong));
      continue;
    }
    const auto [taken, first] = path_of_catalog.emplace(database.catalog, database.path);
    if (!first) {
      problems.add(fmt::format("{} is not protected: its catalog \"{}\" is that of {}", database.path,
                               database.catalog, taken->second));
      continue;
    }
    result.databases.push_back(std::move(database));
  }
  std::sort(result.databases.begin() + static_cast<std::ptrdiff_t>(named), result.databases.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  result.problems = problems.take(" are not protected");
  return result;
}

std::optional<database_config> would_find(const std::vector<database_config>& configured,
                                          const std::string& path) {
  for (const database_config& pattern : configured) {
    if (!has_wildcard(pattern.path)) continue;
    std::optional<std::string> catalog = wildcard::catalog_by(pattern_of(pattern), path);
    if (!catalog) continue;
    wildcard::database_match one{path, *std::move(catalog)};
    if (wildcard::name_problem(one).empty()) return made_of(pattern, std::move(one));
  }
  return std::nullopt;
}

std::vector<std::string> never_as_files(const std::vector<database_config>& present,
                                        const std::vector<database_config>& configured) {
  std::vector<std::string> paths;
  for (const database_config& database : present) paths.push_back(database.path);
  for (const database_config& database : configured) {
    if (has_wildcard(database.path)) paths.push_back(database.path);
  }
  return paths;
}

}  // namespace understudy::service
