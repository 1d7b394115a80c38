#include "agent-primary/service/database_paths.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>

namespace understudy::service {
namespace {

constexpr std::string_view sqlite_magic = "SQLite format 3";
constexpr std::string_view own_files = ".understudy-";  // what a restore makes beside a database

struct match {
  std::string path;
  std::string stands_for;
};

bool is_database(const std::string& path) {
  std::array<char, sqlite_magic.size()> head{};
  std::ifstream file(path, std::ios::binary);
  return file.read(head.data(), head.size()) && std::string_view(head.data(), head.size()) == sqlite_magic;
}

std::string as_name(std::string text) {
  for (char& c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '-' && c != '_' && c != '.') c = '_';
  }
  return text;
}

// Everything that `rest` matches below `directory`, which ends with a slash.
void descend(const std::string& directory, std::string_view rest, const std::string& stands_for,
             std::vector<match>& found) {
  const auto slash = rest.find('/');
  const bool last = slash == std::string_view::npos;
  const std::string part(rest.substr(0, slash));
  rest = last ? std::string_view{} : rest.substr(slash + 1);
  const auto star = part.find('*');
  if (star == std::string::npos) {
    if (last) {
      found.push_back({directory + part, stands_for});
    } else {
      descend(directory + part + "/", rest, stands_for, found);
    }
    return;
  }
  const std::string before = part.substr(0, star);
  const std::string after = part.substr(star + 1);
  std::error_code gone;
  for (std::filesystem::directory_iterator at(directory, gone), end; !gone && at != end; at.increment(gone)) {
    const std::string name = at->path().filename().string();
    if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after) ||
        name.find(own_files) != std::string::npos)
      continue;
    std::error_code unknown;
    if (last ? !at->is_regular_file(unknown) : !at->is_directory(unknown)) continue;
    const std::string text = name.substr(before.size(), name.size() - before.size() - after.size());
    const std::string all = stands_for.empty() ? text : stands_for + "-" + text;
    if (last) {
      found.push_back({directory + name, all});
    } else {
      descend(directory + name + "/", rest, all, found);
    }
  }
}

}  // namespace

bool has_wildcard(const std::string& path) {
  return path.find('*') != std::string::npos;
}

std::string wildcard_problem(const std::string& path, const std::string& catalog) {
  const auto stars = std::count(catalog.begin(), catalog.end(), '*');
  if (!has_wildcard(path)) return stars == 0 ? "" : "a catalog with '*' needs a path with '*'";
  if (stars != 1) return "a path with '*' stands for many databases: the catalog must have one '*', too";
  int in_part = 0;
  for (const char c : path) {
    in_part = c == '/' ? 0 : in_part + (c == '*');
    if (in_part > 1) return "each part of a path may have one '*'";
  }
  return "";
}

found_databases find_databases(const std::vector<database_config>& configured,
                               const std::set<std::string>& known) {
  found_databases result;
  std::map<std::string, std::string> path_of_catalog;
  std::set<std::string> paths;
  for (const database_config& database : configured) {
    if (has_wildcard(database.path)) continue;
    result.databases.push_back(database);
    path_of_catalog[database.catalog] = database.path;
    paths.insert(database.path);
  }
  for (const database_config& pattern : configured) {
    if (!has_wildcard(pattern.path) || pattern.path.front() != '/') continue;
    std::vector<match> found;
    descend("/", std::string_view(pattern.path).substr(1), "", found);
    std::sort(found.begin(), found.end(), [](const match& a, const match& b) { return a.path < b.path; });
    for (const match& one : found) {
      if (paths.contains(one.path) || !(known.contains(one.path) || is_database(one.path))) continue;
      database_config database = pattern;
      database.path = one.path;
      database.catalog.replace(database.catalog.find('*'), 1, as_name(one.stands_for));
      const auto [taken, is_new] = path_of_catalog.emplace(database.catalog, one.path);
      if (!is_new) {
        result.problems.push_back(fmt::format("{} is not protected: its catalog \"{}\" is that of {}",
                                              one.path, database.catalog, taken->second));
        continue;
      }
      paths.insert(one.path);
      result.databases.push_back(std::move(database));
    }
  }
  return result;
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
