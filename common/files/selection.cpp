#include "common/files/selection.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "common/files/name_pattern.hpp"
#include "common/files/tree_path.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

// SQLite's, and what a heal keeps beside a copy.
constexpr std::array<std::string_view, 6> database_suffixes{"",         "-wal",  "-shm",
                                                            "-journal", "-heal", "-unfinished"};

absl::Status check_absolute(std::string_view what, std::string_view path) {
  if (!path.starts_with('/')) {
    return absl::InvalidArgumentError(fmt::format("{} \"{}\": an absolute path is needed", what, path));
  }
  for (const auto& part : std::filesystem::path(path)) {
    if (part == "..") {
      return absl::InvalidArgumentError(fmt::format("{} \"{}\": \"..\" is not allowed in it", what, path));
    }
  }
  return absl::OkStatus();
}

// Without a trailing slash and "." components; "" for the root.
std::string normal(std::string_view absolute) {
  std::string path = std::filesystem::path(absolute).lexically_normal().string();
  while (path.ends_with('/')) path.pop_back();
  return path;
}

std::string trimmed(std::string_view subdirectory) {
  while (subdirectory.ends_with('/')) subdirectory.remove_suffix(1);
  while (subdirectory.starts_with("./")) subdirectory.remove_prefix(2);
  return subdirectory == "." ? std::string{} : std::string(subdirectory);
}

// `path` is `directory` or lies below it.
bool is_within(std::string_view path, std::string_view directory, bool ignore_case) {
  if (directory.empty()) return true;
  if (path.size() < directory.size() ||
      !equal_names(path.substr(0, directory.size()), directory, ignore_case)) {
    return false;
  }
  return path.size() == directory.size() || path[directory.size()] == '/';
}

std::vector<std::string> components_of(std::string_view path) {
  std::vector<std::string> components;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (end != 0) components.emplace_back(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return components;
}

// `pattern` has one `*` at most.
bool stands_for(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  return name.size() > before.size() + after.size() && name.starts_with(before) && name.ends_with(after);
}

// The first components of `pattern` stand for all of `path`.
bool begins_with(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  return pattern.size() >= path.size() &&
         std::equal(path.begin(), path.end(), pattern.begin(),
                    [](const std::string& name, const std::string& part) { return stands_for(part, name); });
}

bool is_reserved(std::string_view path) {
  return is_below(path, reserved_name) || path == reserved_name ||
         name_of(path).find(incoming_mark) != std::string_view::npos;
}

}  // namespace

std::vector<inclusion> classic_profile() {
  const auto row = [](std::string subdirectory, std::vector<std::string> types) {
    return inclusion{.subdirectory = std::move(subdirectory),
                     .types = std::move(types),
                     .recursive = true,
                     .ignore_case = true};
  };
  return {row("Extn", {"*.wav", "*.vox"}), row("Custom", {"*.wav", "*.vox"}), row("Mail", {"*.*"}),
          row("Music", {"*.*"}), row("Upload/Extn", {"*.*"})};
}

absl::StatusOr<selection_matcher> selection_matcher::make(const selection& what) {
  UNDERSTUDY_RETURN_IF_ERROR(check_absolute("base directory", what.base));
  if (what.include.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("base directory \"{}\": nothing is included; to take everything, include subdirectory "
                    "\".\" with types "
                    "[\"*\"] and recursive = true",
                    what.base));
  }
  selection_matcher matcher;
  for (std::size_t i = 0; i < what.include.size(); ++i) {
    const inclusion& given = what.include[i];
    const auto refuse = [&](std::string_view reason) {
      return absl::InvalidArgumentError(
          fmt::format("base directory \"{}\", inclusion {} (subdirectory \"{}\"): {}", what.base, i + 1,
                      given.subdirectory, reason));
    };
    row r{.subdirectory = trimmed(given.subdirectory),
          .types = given.types,
          .recursive = given.recursive,
          .ignore_case = given.ignore_case};
    if (!r.subdirectory.empty()) {
      if (const absl::Status checked = check_path(r.subdirectory); !checked.ok())
        return refuse(message_of(checked));
    }
    if (r.types.empty()) return refuse("types: at least one pattern is needed, for example \"*\"");
    for (const std::string& type : r.types) {
      if (type.empty()) return refuse("types: a pattern is empty");
      if (type.find('/') != std::string::npos || type.find('\0') != std::string::npos) {
        return refuse(fmt::format(
            "types: \"{}\" is a pattern on file names; directories belong in subdirectory", printable(type)));
      }
    }
    matcher.rows_.push_back(std::move(r));
  }
  const std::string base = normal(what.base);
  for (const std::string& database : what.exclude_databases) {
    UNDERSTUDY_RETURN_IF_ERROR(check_absolute("database", database));
    const std::string path = normal(database);
    if (path.find('*') != std::string::npos) {
      const auto of_base = components_of(base);
      std::vector<std::string> pattern = components_of(path);
      if (pattern.size() <= of_base.size() || !begins_with(pattern, of_base)) continue;
      pattern.erase(pattern.begin(), pattern.begin() + static_cast<std::ptrdiff_t>(of_base.size()));
      const std::string last = pattern.back();
      for (const std::string_view suffix : database_suffixes) {
        pattern.back() = last + std::string(suffix);
        matcher.patterns_.push_back(pattern);
      }
      continue;
    }
    if (is_within(path, base, false) && path.size() > base.size()) {
      for (const std::string_view suffix : database_suffixes) {
        matcher.databases_.push_back(path.substr(base.size() + 1) + std::string(suffix));
      }
    }
  }
  std::sort(matcher.databases_.begin(), matcher.databases_.end());
  return matcher;
}

bool selection_matcher::includes_file(std::string_view path) const {
  if (is_database(path) || is_reserved(path)) return false;
  const std::string_view directory = parent_of(path);
  const std::string_view name = name_of(path);
  return std::any_of(rows_.begin(), rows_.end(), [&](const row& r) {
    if (!is_within(directory, r.subdirectory, r.ignore_case)) return false;
    if (!r.recursive && directory.size() != r.subdirectory.size()) return false;
    return std::any_of(r.types.begin(), r.types.end(),
                       [&](const std::string& type) { return matches(type, name, r.ignore_case); });
  });
}

bool selection_matcher::includes_directory(std::string_view path) const {
  if (path.empty()) return true;
  if (is_reserved(path)) return false;
  return std::any_of(rows_.begin(), rows_.end(), [&](const row& r) {
    if (is_within(path, r.subdirectory, r.ignore_case)) {
      return r.recursive || path.size() == r.subdirectory.size();
    }
    return is_within(r.subdirectory, path, r.ignore_case);  // on the way to it
  });
}

bool selection_matcher::is_database(std::string_view path) const {
  if (std::binary_search(databases_.begin(), databases_.end(), path)) return true;
  if (patterns_.empty()) return false;
  const auto components = components_of(path);
  return std::any_of(patterns_.begin(), patterns_.end(), [&](const auto& pattern) {
    return pattern.size() == components.size() && begins_with(pattern, components);
  });
}

bool selection_matcher::has_database_below(std::string_view directory) const {
  const auto components = components_of(directory);
  return std::any_of(databases_.begin(), databases_.end(),
                     [&](const std::string& path) { return is_below(path, directory); }) ||
         std::any_of(patterns_.begin(), patterns_.end(), [&](const auto& pattern) {
           return pattern.size() > components.size() && begins_with(pattern, components);
         });
}

selection from_message(const v1::FileSelection& message) {
  selection what{.base = message.base(), .include = {}, .exclude_databases = {}};
  for (const v1::FileInclusion& row : message.include()) {
    what.include.push_back({.subdirectory = row.subdirectory(),
                            .types = {row.types().begin(), row.types().end()},
                            .recursive = row.recursive(),
                            .ignore_case = row.ignore_case()});
  }
  what.exclude_databases.assign(message.exclude_databases().begin(), message.exclude_databases().end());
  return what;
}

v1::FileSelection to_message(const selection& what) {
  v1::FileSelection message;
  message.set_base(what.base);
  for (const inclusion& row : what.include) {
    v1::FileInclusion& added = *message.add_include();
    added.set_subdirectory(row.subdirectory);
    for (const std::string& type : row.types) added.add_types(type);
    added.set_recursive(row.recursive);
    added.set_ignore_case(row.ignore_case);
  }
  for (const std::string& database : what.exclude_databases) message.add_exclude_databases(database);
  return message;
}

}  // namespace understudy::files
