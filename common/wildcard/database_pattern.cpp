#include "common/wildcard/database_pattern.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include "common/rpc/utf8.hpp"

namespace understudy::wildcard {
namespace {

constexpr std::string_view sqlite_magic = "SQLite format 3";
constexpr std::string_view own_files = ".understudy-";  // what a restore makes beside a database
constexpr std::size_t longest_catalog = 64;             // as the failover host has it
constexpr std::size_t most_problems = 10;               // told one by one

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

std::string named(const database_pattern& pattern, const std::string& stands_for) {
  std::string catalog = pattern.catalog;
  return catalog.replace(catalog.find('*'), 1, as_name(stands_for));
}

// Everything that `rest` matches below `directory`, which ends with a slash.
void descend(const std::string& directory, std::string_view rest, const std::string& stands_for,
             std::vector<database_match>& found) {
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

bool has_wildcard(std::string_view path) {
  return path.find('*') != std::string_view::npos;
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

std::optional<std::string> catalog_by(const database_pattern& pattern, std::string_view path) {
  const std::optional<std::string> stands_for = matched(pattern.path, path);
  if (!stands_for) return std::nullopt;
  return named(pattern, *stands_for);
}

std::vector<database_match> matches(const database_pattern& pattern, const std::string& root) {
  std::vector<database_match> found;
  if (!pattern.path.starts_with('/')) return found;
  descend(root + "/", std::string_view(pattern.path).substr(1), "", found);
  for (database_match& one : found) {
    one.path.erase(0, root.size());
    one.catalog = named(pattern, one.catalog);
  }
  return found;
}

std::string name_problem(const database_match& database) {
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

bool begins_as_database(const std::string& file) {
  std::array<char, sqlite_magic.size()> head{};
  std::ifstream stream(file, std::ios::binary);
  return stream.read(head.data(), head.size()) && std::string_view(head.data(), head.size()) == sqlite_magic;
}

void problem_list::add(std::string problem) {
  if (++count_ <= most_problems) all_.push_back(std::move(problem));
}

std::vector<std::string> problem_list::take(const std::string& more) {
  if (count_ > most_problems) all_.back() = fmt::format("{} more{}", count_ - most_problems + 1, more);
  return std::move(all_);
}

}  // namespace understudy::wildcard
