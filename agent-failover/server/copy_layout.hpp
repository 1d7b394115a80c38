#pragma once

// Where things lie in a server's directory on the failover host:
//   root/var/lib/pbx/ctserver.db    the copies, at the primary's own paths
//   root/var/lib/pbx/vm/...
//   db/NAME_CATALOG.db              a symlink to each database, as the classic product names it
//   generation, generations/, next/, daily   of the daily replication, see generation.hpp
//   copied                          which databases ever had a whole copy, see copied_databases.hpp
//   set-aside/...                   data of the losing side of a failback
//   history/CATALOG/                the past of each database (agent-failover/history)
//   taken-over                       its time: the stand-in may have written since
//   run/                            pid records and output of the stand-in applications

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::os {
class file_system;
}
namespace understudy::v1 {
class DatabaseSpec;
class ServerSpec;
}  // namespace understudy::v1

namespace understudy::server {

class copy_layout {
 public:
  // `data_dir`: of understudyd. The server's local_dir wins where it is set.
  copy_layout(std::string_view data_dir, const v1::ServerSpec& spec);

  const std::string& directory() const { return directory_; }
  // The place of a path of the primary, which is absolute and without "..".
  std::string place_of(std::string_view primary_path) const;
  std::string set_aside() const { return directory_ + "/set-aside"; }
  std::string next() const { return directory_ + "/next"; }
  std::string run() const { return directory_ + "/run"; }
  std::string history() const { return directory_ + "/history"; }

  // The catalogs of the databases that have no copy: they were added since, or somebody took it away.
  // Those that the agent found by itself hold up nothing, and do not count.
  std::vector<std::string> without_copy(os::file_system& fs, const v1::ServerSpec& spec) const;
  // What a heal of a database that leaves has brought, and did not end.
  void remove_unfinished(const v1::DatabaseSpec& database) const;

  // Makes the directories and the symlinks, durably. Existing ones are kept.
  absl::Status prepare(os::file_system& fs, const v1::ServerSpec& spec) const;

 private:
  std::string name_;
  std::string directory_;
};

// The primary's directories that a stand-in sees at their original paths: the directory of each database and
// the base of each file tree, without those that lie inside another one.
std::vector<std::string> presented_directories(const v1::ServerSpec& spec);

// Absolute, no empty, "." or ".." component, no NUL: fit to be mirrored below root/.
absl::Status check_primary_path(std::string_view path);

}  // namespace understudy::server
