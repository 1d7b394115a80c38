#pragma once

// Generations of a server's databases: what the daily replication makes. All databases of a server change
// generation together, or none:
//
//   next/CATALOG.db         a new generation while it is made, with what a cut heal brought beside it; after
//   the
//                           exchange, what was replaced
//   next/generation         the decision: it is whole and verified, and has to take the copy's place
//   next/exchanged          the same, when it has; what was replaced has to be put away
//   generation              of the generation in use
//   generations/STAMP/...   earlier ones (os::time_stamp), CATALOG.db each with their `generation`, the
//   newest few
//
// The decision is durable before the first database is exchanged; a crash afterwards is made good by
// complete_generation() at the next start. So at every instant each database is whole, and a takeover finds
// all of one generation.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/database_lane.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::os {
class file_system;
}
namespace understudy::v1 {
class ServerSpec;
}

namespace understudy::server {

struct generation_record {
  struct member {
    std::string catalog;
    std::uint32_t page_size = 0;
    std::uint32_t pages = 0;
    sqlite::page_hash hash;
    friend bool operator==(const member&, const member&) = default;
  };
  std::chrono::system_clock::time_point verified_at;  // in whole milliseconds
  std::vector<member> members;
  friend bool operator==(const generation_record&, const generation_record&) = default;
};

std::string encode(const generation_record& record);
absl::StatusOr<generation_record> parse_generation(std::string_view text);

// next/, made if need be, with nothing in it but what an earlier attempt made of the databases of `spec`.
// kFailedPrecondition while a decision waits to be completed.
absl::Status begin_generation(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec);
// What a database has there while it is made; the last one is there once it began as a copy of the one in
// use.
std::vector<std::string> names_in_next(const std::string& catalog);
// Puts the databases in next/ in the place of the copies in use, all or none; `images`: what they are, in the
// order of `live`. On failure before the decision nothing has changed; afterwards complete_generation() goes
// on. What was replaced is kept among the earlier ones.
absl::Status put_in_use(os::file_system& fs, const copy_layout& layout,
                        const std::vector<std::shared_ptr<database_lane>>& live,
                        std::vector<finished_image> images);
// Whatever a crash left: exchanges what the decision says, if there is one, else leaves next/ to the next
// attempt (drops it where generations are not made any more). Nobody else has the copies open.
absl::Status complete_generation(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec);

// How many stay beside the one in use. Each takes as much space as the databases have, unless the filesystem
// lets files share blocks.
inline constexpr int kept_generations = 1;
inline constexpr int kept_generations_sharing = 7;

// Whether files in the server's directory can share blocks (btrfs, XFS).
bool shares_blocks(os::file_system& fs, const copy_layout& layout);

}  // namespace understudy::server
