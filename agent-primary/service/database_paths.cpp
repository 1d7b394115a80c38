#include "agent-primary/service/database_paths.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>
#include <utility>

#include "common/rpc/utf8.hpp"

namespace understudy::service {
namespace {

constexpr std::string_view sqlite_magic = "SQLite format 3";
constexpr std::string_view own_files = ".understudy-";  // what a restore makes beside a database
constexpr std::size_t longest_catalog = 64;             // as the failover host has it
constexpr std::size_t most_problems = 10;               // told one by one

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

// What the wildcard of one part of a path stands for in `name`; none: it does not match.
std::optional<std::string> stands_for_in(const std::string& part, const std::string& name) {
  const auto star = part.find('*');
  const std::string before = part.substr(0, star);
  const std::string after = part.substr(star + 1);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after) ||
      name.find(own_files) != std::string::npos)
    return std::nullopt;
  return name.substr(before.size(), name.size() - before.size() - after.size());
}

std::string joined(const std::string& stands_for, const std::string& more) {
  return stands_for.empty() ? more : stands_for + "-" + more;
}

// What the wildcards of `pattern` stand for in `path`.
std::optional<std::string> matched(std::string_view pattern, std::string_view path) {
  std::string all;
  for (;;) {
    const auto pattern_slash = pattern.find('/');
    const auto slash = path.find('/');
    if ((pattern_slash == std::string_view::npos) != (slash == std::string_view::npos)) return std::nullopt;
    const std::string part(pattern.substr(0, pattern_slash));
    const std::string name(path.substr(0, slash));
    if (name == "." || name == "..") return std::nullopt;
    if (!has_wildcard(part)) {
      if (part != name) return std::nullopt;
    } else {
      const std::optional<std::string> text = stands_for_in(part, name);
      if (!text) return std::nullopt;
      all = joined(all, *text);
    }
    if (slash == std::string_view::npos) return all;
    pattern.remove_prefix(pattern_slash + 1);
    path.remove_prefix(slash + 1);
  }
}

database_config made_of(const database_config& pattern, const match& one) {
  database_config database = pattern;
  database.path = one.path;
  database.found = true;
  database.catalog.replace(database.catalog.find('*'), 1, as_name(one.stands_for));
  return database;
}

// Why a database cannot be known by its path and catalog; empty when it can.
std::string name_problem(const database_config& database) {
  if (!rpc::is_utf8(database.path)) return "its name is not UTF-8";
  const auto is_control = [](unsigned char c) { return c < ' ' || c == 0x7f; };
  if (std::any_of(database.path.begin(), database.path.end(), is_control))
    return "its name has control characters";
  if (database.catalog.size() > longest_catalog)
    return fmt::format("its catalog would be longer than {} letters", longest_catalog);
  if (database.catalog.front() == '.' || database.catalog.front() == '-')
    return fmt::format("its catalog would be \"{}\", which begins with \"{}\"", database.catalog,
                       database.catalog.front());
  return "";
}

// A few, and how many more.
class problem_list {
 public:
  void add(std::string problem) {
    if (++count_ <= most_problems) all_.push_back(std::move(problem));
  }
  std::vector<std::string> take() {
    if (count_ > most_problems)
      all_.back() = fmt::format("{} more are not protected", count_ - most_problems + 1);
    return std::move(all_);
  }

 private:
  std::vector<std::string> all_;
  std::size_t count_ = 0;
};

// Everything that `rest` matches below `directory`, which ends with a slash.
void descend(const std::string& directory, std::string_view rest, const std::string& stands_for,
             std::vector<match>& found) {
  const auto slash = rest.find('/');
  const bool last = slash == std::string_view::npos;
  const std::string part(rest.substr(0, slash));
  rest = last ? std::string_view{} : rest.substr(slash + 1);
  if (!has_wildcard(part)) {
    if (last) {
      found.push_back({directory + part, stands_for});
    } else {
      descend(directory + part + "/", rest, stands_for, found);
    }
    return;
  }
  std::error_code gone;
  for (std::filesystem::directory_iterator at(directory, gone), end; !gone && at != end; at.increment(gone)) {
    const std::string name = at->path().filename().string();
    const std::optional<std::string> text = stands_for_in(part, name);
    std::error_code unknown;
    if (!text || (last ? !at->is_regular_file(unknown) : !at->is_directory(unknown))) continue;
    if (last) {
      found.push_back({directory + name, joined(stands_for, *text)});
    } else {
      descend(directory + name + "/", rest, joined(stands_for, *text), found);
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
    if (!has_wildcard(pattern.path) || pattern.path.front() != '/') continue;
    std::vector<match> found;
    descend("/", std::string_view(pattern.path).substr(1), "", found);
    for (const match& one : found) {
      if (paths.insert(one.path).second) candidates.push_back(made_of(pattern, one));
    }
  }
  const auto is_new = [&](const database_config& database) { return !known.contains(database.path); };
  std::sort(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
    return std::pair(is_new(a), std::string_view(a.path)) < std::pair(is_new(b), std::string_view(b.path));
  });
  const std::size_t named = result.databases.size();
  problem_list problems;
  for (database_config& database : candidates) {
    if (is_new(database) && !is_database(database.path)) continue;
    if (result.databases.size() - named >= most) {
      // Each of the others would have to be looked into.
      problems.add(fmt::format("there are more than {} databases; the first that is not protected is {}",
                               most, rpc::as_utf8(database.path)));
      break;
    }
    if (const std::string wrong = name_problem(database); !wrong.empty()) {
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
  result.problems = problems.take();
  return result;
}

std::optional<database_config> would_find(const std::vector<database_config>& configured,
                                          const std::string& path) {
  for (const database_config& pattern : configured) {
    if (!has_wildcard(pattern.path)) continue;
    const std::optional<std::string> stands_for = matched(pattern.path, path);
    if (!stands_for) continue;
    database_config database = made_of(pattern, {path, *stands_for});
    if (name_problem(database).empty()) return database;
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
