#pragma once

// What was deleted of a server's file trees. Any thread: it is read from the disk, beside the lanes.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/deleted_files.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::server {

absl::StatusOr<v1::ListDeletedFilesResponse> list_deleted_files(os::file_system& fs,
                                                                const copy_layout& layout,
                                                                const v1::ServerSpec& spec,
                                                                const v1::ListDeletedFilesRequest& request);

struct found_deleted_file {
  std::string base;
  files::deleted_files trash;
  files::deleted_file what;
};

// The one that a request means.
absl::StatusOr<found_deleted_file> find_deleted_file(os::file_system& fs, const copy_layout& layout,
                                                     const v1::ServerSpec& spec,
                                                     const v1::RestoreDeletedFileRequest& request);

}  // namespace understudy::server
