#pragma once

// The databases that a stand-in made: what lies below the copies, was written since the takeover, and is
// matched by the agent's paths with wildcards, but is none of the server's specification. A failback brings
// them to the primary, where they are found and protected like any other.
//
// What a stand-in may have made is hostile: nothing that is reached through a symlink is looked into.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "understudy/v1/primary_agent.pb.h"
#include "understudy/v1/server.pb.h"

namespace understudy::os {
class file_system;
}

namespace understudy::server {

class copy_layout;

struct made_databases {
  std::vector<v1::DatabaseSpec> bring;  // by path
  std::vector<std::string> left;        // what stays here, and why; at most ten, the last counts the rest
};

made_databases find_made(const copy_layout& layout, const v1::ServerSpec& spec,
                         const google::protobuf::RepeatedPtrField<v1::DatabasePattern>& patterns);

// Before a stand-in writes for the first time: what is older is none of its doing. Without this mark,
// everything is taken for it.
absl::Status mark_takeover(os::file_system& fs, const copy_layout& layout);

// The server does not want what its agent finds under this catalog.
bool ignores_found(const v1::ServerSpec& spec, const std::string& catalog);
// Why a found database cannot be part of the specification; empty when it can.
std::string found_problem(const v1::ServerSpec& spec, const v1::DatabaseSpec& database);

}  // namespace understudy::server
