#pragma once

// PrimaryAgent.RestoreFiles, in the agent: a handler of the synchronous API hands its call over and returns
// what comes back.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/incoming_tree.hpp"
#include "common/files/files_progress.hpp"

namespace grpc {
class Status;
class ServerContext;
template <class W, class R>
class ServerReaderWriter;
}  // namespace grpc

namespace understudy::v1 {
class RestoreFilesRequest;
class RestoreFilesResponse;
}  // namespace understudy::v1

namespace understudy::files {

struct restore_files_service {
  // What comes for the primary's own tree; or why it may not be written (not fenced, an older epoch, no such
  // tree). Called on call threads; destroyed when the stream ends.
  std::function<absl::StatusOr<std::unique_ptr<incoming_tree>>(std::uint32_t index, std::uint64_t epoch,
                                                               frozen_base base)>
      begin;
  // Asked again before anything is adopted.
  std::function<absl::Status(std::uint64_t epoch)> permitted;
  // May be empty.
  std::function<void(std::uint32_t index, const files_progress&)> on_progress;
};

grpc::Status serve(const restore_files_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::RestoreFilesResponse, v1::RestoreFilesRequest>& call);

}  // namespace understudy::files
