#pragma once

// A [[database]] whose path has wildcards (common/wildcard) stands for every database that it matches, now
// and later.

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent-primary/service/agent_config.hpp"
#include "common/wildcard/database_pattern.hpp"

namespace understudy::service {

using wildcard::has_wildcard;
using wildcard::most_found;
using wildcard::wildcard_problem;

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
