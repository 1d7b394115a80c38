#pragma once

// Which of a server's databases ever had a whole copy here, so that one that was added later, and is copied
// for the first time, is told from one whose copy was lost. Kept in the server's directory, in `copied`: a
// catalog per line. Databases that the agent found by itself hold up nothing and are not asked about.

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace understudy::os {
class file_system;
}
namespace understudy::store {
struct freeze_row;
}
namespace understudy::v1 {
class ServerSpec;
}

namespace understudy::server {

class copy_layout;

// Catalogs of databases that have no copy.
struct missing_copies {
  // There was one, as far as is known: a server without a record knows of all. Or there never was any of any
  // database that people named, so that a takeover would have nothing to go on with.
  std::vector<std::string> lost;
  std::vector<std::string> first;  // there never was, but of others
};
missing_copies missing_copies_of(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec);

// These have a whole copy now, and those that are `gone` have none any more, which is no loss. What the
// record says of others of `spec` stays; what is not its is dropped. Durable on return.
absl::Status note_copied(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec,
                         const std::set<std::string>& catalogs, const std::set<std::string>& gone = {});

// Databases that people named, and that the takeover of these images went without.
std::set<std::string> never_copied(const v1::ServerSpec& spec, const std::vector<store::freeze_row>& frozen);

}  // namespace understudy::server
