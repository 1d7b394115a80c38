#pragma once

// PrimaryAgent.RestoreFiles, the client's side, on the failover host: the stand-in's tree to the primary.

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "agent-primary/files/file_source.hpp"
#include "common/files/files_stream.hpp"

namespace grpc {
class ChannelInterface;
}
namespace understudy::v1 {
class FilesBase;
class RestoreFilesResponse;
}  // namespace understudy::v1

namespace understudy::files {

class restore_files_stream : public files_stream {
 public:
  // Once drained: everything is put in its place on the primary. kFailedPrecondition: files have diverged and
  // `discard_primary` is false; nothing was touched. Answered once, on any thread; no more than one at a
  // time.
  virtual void adopt(bool discard_primary,
                     std::function<void(const absl::StatusOr<v1::RestoreFilesResponse>&)> on_answer) = 0;
};

// `base`: what the copy had when the host took over.
std::unique_ptr<restore_files_stream> start_files_restore(std::shared_ptr<grpc::ChannelInterface> channel,
                                                          std::uint32_t index, std::uint64_t epoch,
                                                          const v1::FilesBase& base,
                                                          std::shared_ptr<file_source> source,
                                                          files_callbacks callbacks);

}  // namespace understudy::files
