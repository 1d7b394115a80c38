#include "agent-failover/replica/tree/restore_files_service.hpp"

#include <fmt/core.h>

#include <utility>

#include "agent-failover/replica/tree/file_sink_runner.hpp"
#include "common/files/grpc_call.hpp"
#include "common/files/tree_path.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::files {
namespace {

class restore_call final : public server_call<v1::RestoreFilesResponse, v1::RestoreFilesRequest,
                                              v1::FilesSinkMessage, v1::FilesSourceMessage> {
 public:
  using server_call::server_call;
  bool receive(v1::FilesSourceMessage& message) override {
    for (;;) {
      v1::RestoreFilesRequest request;
      if (!read(request)) return false;
      if (request.has_adopt()) {
        // The last request: what follows is done by the call's own thread, once everything before it is
        // applied.
        adopt = *request.mutable_adopt();
        return false;
      }
      if (!request.has_message()) continue;  // the introduction
      message = std::move(*request.mutable_message());
      return true;
    }
  }

  std::optional<v1::AdoptFiles> adopt;
};

absl::Status undecided(const incoming_tree& tree, const divergence& found) {
  std::string some;
  for (std::size_t i = 0; i < found.paths.size() && i < 3; ++i)
    some += (i == 0 ? "" : ", ") + printable(found.paths[i]);
  return rpc::with_reason(
      absl::FailedPreconditionError(
          fmt::format("{} files below {} were changed on both sides ({}{}): choose with --discard-primary or "
                      "--keep-primary; the other side's versions are set aside",
                      found.count, tree.what().base, some, found.count > 3 ? ", ..." : "")),
      "DIVERGED");
}

absl::StatusOr<v1::RestoreFilesResponse> adopt(incoming_tree& tree, std::uint64_t epoch,
                                               v1::DivergedChoice choice) {
  if (choice == v1::DIVERGED_CHOICE_KEEP_PRIMARY) return v1::RestoreFilesResponse{};
  const divergence found = *tree.diverged();
  if (found.count > 0 && choice == v1::DIVERGED_CHOICE_UNSPECIFIED) return undecided(tree, found);
  UNDERSTUDY_ASSIGN_OR_RETURN(const adopted_tree done, tree.adopt(fmt::format("epoch-{}", epoch)));
  v1::RestoreFilesResponse response;
  response.set_set_aside(done.set_aside);
  v1::FilesAdopted& adopted = *response.mutable_adopted();
  adopted.mutable_divergence()->set_count(done.diverged.count);
  for (const std::string& path : done.diverged.paths) {
    if (adopted.divergence().paths_size() < 100) adopted.mutable_divergence()->add_paths(path);
  }
  adopted.set_replaced(done.replaced);
  adopted.set_removed(done.removed);
  return response;
}

}  // namespace

grpc::Status serve(const restore_files_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::RestoreFilesResponse, v1::RestoreFilesRequest>& call) {
  v1::RestoreFilesRequest first;
  if (!call.Read(&first)) return grpc::Status::OK;
  const std::uint32_t index = first.index();
  const std::uint64_t epoch = first.epoch();
  absl::StatusOr<frozen_base> base = from_message(first.base());
  if (!base.ok()) return channel::to_grpc(base.status());
  auto tree = service.begin(index, epoch, *std::move(base));
  if (!tree.ok()) return channel::to_grpc(tree.status());
  restore_call stream(context, call, std::move(first));
  std::function<void(const files_progress&)> listener;
  if (service.on_progress) {
    listener = [&service, index](const files_progress& progress) { service.on_progress(index, progress); };
  }
  file_sink_runner runner(**tree, stream, std::move(listener));
  const absl::Status status = runner.run();
  if (!status.ok() || !stream.adopt) return channel::to_grpc(status);
  if (runner.progress().now != files_progress::phase::drained) {
    return channel::to_grpc(
        rpc::with_reason(absl::AbortedError("adopt before the files were drained"), "NOT_DRAINED"));
  }
  if (service.permitted) {
    if (const absl::Status permitted = service.permitted(epoch); !permitted.ok())
      return channel::to_grpc(permitted);
  }
  auto adopted = adopt(**tree, epoch, stream.adopt->choice());
  if (!adopted.ok()) return channel::to_grpc(adopted.status());
  call.Write(*adopted);
  return grpc::Status::OK;
}

}  // namespace understudy::files
