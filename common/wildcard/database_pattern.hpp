#pragma once

// A path with wildcards, which stands for every database that it matches, now and later; on the primary, and
// below the copies that a stand-in wrote.
//
// `*` matches any text but a slash, once in each part of the path. The catalog of a database found so is the
// pattern's, in which `*` is replaced by what the wildcards of the path stand for, joined by '-'; a letter
// that no name may have becomes '_'. So `path = "/srv/*/app.db", catalog = "app-*"` makes of /srv/acme/app.db
// the catalog "app-acme".

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::wildcard {

struct database_pattern {
  std::string path;     // absolute, with wildcards
  std::string catalog;  // with one
};

struct database_match {
  std::string path;
  std::string catalog;
};

// Found by all paths with wildcards of a primary together. Each costs the agent 4 descriptors and what is
// read at the start.
inline constexpr std::size_t most_found = 1000;

bool has_wildcard(std::string_view path);
// Why a path with wildcards and its catalog cannot stand together; empty when they can.
std::string wildcard_problem(const std::string& path, const std::string& catalog);

// The catalog that a database at `path`, which need not be there, has by this pattern; none: no match.
std::optional<std::string> catalog_by(const database_pattern& pattern, std::string_view path);
// What the pattern matches below `root` ("": the whole machine); each path without it. Follows symlinks, and
// looks into no file.
std::vector<database_match> matches(const database_pattern& pattern, const std::string& root = "");

// Why a database cannot be known by its path and catalog; empty when it can.
std::string name_problem(const database_match& database);
// Whether a file begins as a SQLite database does. It must be none that a reader would wait for.
bool begins_as_database(const std::string& file);

// Some problems, told one by one, and how many more there are.
class problem_list {
 public:
  void add(std::string problem);
  // `more` follows the count of those that are not named.
  std::vector<std::string> take(const std::string& more = "");

 private:
  std::vector<std::string> all_;
  std::size_t count_ = 0;
};

}  // namespace understudy::wildcard
