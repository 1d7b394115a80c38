#pragma once

// PrimaryAgent.ReplicateFiles: a handler of the synchronous API hands its call over and returns what comes
// back.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "agent-primary/files/file_source.hpp"
#include "common/files/files_progress.hpp"

namespace grpc {
class Status;
class ServerContext;
template <class W, class R>
class ServerReaderWriter;
}  // namespace grpc

namespace understudy::v1 {
class ReplicateFilesRequest;
class ReplicateFilesResponse;
}  // namespace understudy::v1

namespace understudy::files {

struct replicate_files_service {
  // The source of a file tree of Describe; kNotFound for an index that there is not. Called on call threads.
  std::function<absl::StatusOr<std::shared_ptr<file_source>>(std::uint32_t index)> find;
  // May be empty.
  std::function<void(std::uint32_t index, const files_progress&)> on_progress;
};

grpc::Status serve(const replicate_files_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::ReplicateFilesResponse, v1::ReplicateFilesRequest>& call);

}  // namespace understudy::files
