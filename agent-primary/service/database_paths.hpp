#pragma once

// A [[database]] whose path has wildcards stands for every database that it matches, now and later.
//
// `*` matches any text but a slash, once in each part of the path. The catalog of a database found so is the
// pattern's, in which `*` is replaced by what the wildcards of the path stand for, joined by '-'; a letter
// that no name may have becomes '_'. So `path = "/srv/*/app.db", catalog = "app-*"` makes of /srv/acme/app.db
// the catalog "app-acme".

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent-primary/service/agent_config.hpp"

namespace understudy::service {

bool has_wildcard(const std::string& path);
// Why a path with wildcards and its catalog cannot stand together; empty when they can.
std::string wildcard_problem(const std::string& path, const std::string& catalog);

// Found by all paths with wildcards together. Each costs the agent 4 descriptors and what is read at the
// start.
inline constexpr std::size_t most_found = 1000;

struct found_databases {
  std::vector<database_config> databases;  // those named outright, in their order, then those found, by path
  // What matches and is not protected: its catalog is another file's, its name is none that a catalog or a
  // message can carry, or there are too many. At most ten, the last of which counts the rest.
  std::vector<std::string> problems;
};
// Looks at the directories. What matches counts when it begins as a SQLite database does; the paths in
// `known` do without being looked into, and are protected before any other.
found_databases find_databases(const std::vector<database_config>& configured,
                               const std::set<std::string>& known, std::size_t most = most_found);

// The database that a path with wildcards would find at `path`, which need not be there.
std::optional<database_config> would_find(const std::vector<database_config>& configured,
                                          const std::string& path);

// What no file tree may take: the databases that are there, and whatever the paths with wildcards will find.
// A database that is being made must not travel as a file before it is found.
std::vector<std::string> never_as_files(const std::vector<database_config>& present,
                                        const std::vector<database_config>& configured);

}  // namespace understudy::service
