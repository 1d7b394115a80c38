#pragma once

// A [[database]] whose path has wildcards stands for every database that it matches, now and later.
//
// `*` matches any text but a slash, once in each part of the path. The catalog of a database found so is the
// pattern's, in which `*` is replaced by what the wildcards of the path stand for, joined by '-'; a letter
// that no name may have becomes '_'. So `path = "/srv/*/app.db", catalog = "app-*"` makes of /srv/acme/app.db
// the catalog "app-acme".

#include <set>
#include <string>
#include <vector>

#include "agent-primary/service/agent_config.hpp"

namespace understudy::service {

bool has_wildcard(const std::string& path);
// Why a path with wildcards and its catalog cannot stand together; empty when they can.
std::string wildcard_problem(const std::string& path, const std::string& catalog);

struct found_databases {
  std::vector<database_config> databases;  // those named outright, in their order, then those found, by path
  std::vector<std::string> problems;       // two files with one catalog
};
// Looks at the directories. What matches counts when it begins as a SQLite database does; the paths in
// `known` do without being looked into.
found_databases find_databases(const std::vector<database_config>& configured,
                               const std::set<std::string>& known);

// What no file tree may take: the databases that are there, and whatever the paths with wildcards will find.
// A database that is being made must not travel as a file before it is found.
std::vector<std::string> never_as_files(const std::vector<database_config>& present,
                                        const std::vector<database_config>& configured);

}  // namespace understudy::service
