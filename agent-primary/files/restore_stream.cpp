#include "agent-primary/files/restore_stream.hpp"

#include <utility>

#include "agent-primary/files/file_source_runner.hpp"
#include "common/files/grpc_call.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::files {
namespace {

class restore_call final : public client_call<v1::RestoreFilesRequest, v1::RestoreFilesResponse,
                                              v1::FilesSourceMessage, v1::FilesSinkMessage> {
 public:
  using answer = std::function<void(const absl::StatusOr<v1::RestoreFilesResponse>&)>;
  using client_call::client_call;

  bool receive(v1::FilesSinkMessage& message) override {
    v1::RestoreFilesResponse response;
    if (!read(response)) return false;
    if (response.has_adopted()) {
      give(response);
      return false;
    }
    message = std::move(*response.mutable_message());
    return true;
  }
  void adopt(v1::DivergedChoice choice, answer on_answer) {
    {
      const std::lock_guard lock(mutex_);
      if (!over_ && !on_answer_) on_answer_ = std::exchange(on_answer, nullptr);
    }
    if (on_answer) {
      on_answer(absl::FailedPreconditionError("the stream has ended, or an adoption is under way"));
      return;
    }
    v1::RestoreFilesRequest request;
    request.mutable_adopt()->set_choice(choice);
    write(request);
  }
  void ended(const absl::Status& status) override {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    give(status.ok() ? absl::UnavailableError("the agent closed the stream before it answered") : status);
  }

 private:
  void give(const absl::StatusOr<v1::RestoreFilesResponse>& result) {
    answer on_answer;
    {
      const std::lock_guard lock(mutex_);
      on_answer = std::exchange(on_answer_, nullptr);
    }
    if (on_answer) on_answer(result);
  }

  std::mutex mutex_;
  answer on_answer_;
  bool over_ = false;
};

class restore final : public running_stream<restore_call, file_source_runner, restore_files_stream> {
 public:
  using running_stream::running_stream;
  void adopt(bool discard_primary, restore_call::answer on_answer) override {
    call().adopt(discard_primary ? v1::DIVERGED_CHOICE_DISCARD_PRIMARY : v1::DIVERGED_CHOICE_UNSPECIFIED,
                 std::move(on_answer));
  }
};

}  // namespace

std::unique_ptr<restore_files_stream> start_files_restore(std::shared_ptr<grpc::ChannelInterface> channel,
                                                          std::uint32_t index, std::uint64_t epoch,
                                                          const v1::FilesBase& base,
                                                          std::shared_ptr<file_source> source,
                                                          files_callbacks callbacks) {
  v1::RestoreFilesRequest first;
  first.set_index(index);
  first.set_epoch(epoch);
  *first.mutable_base() = base;
  std::shared_ptr<v1::PrimaryAgent::Stub> stub = v1::PrimaryAgent::NewStub(channel);
  // The agent speaks first, but must know of which tree.
  const auto open = [stub](restore_call& c) { c.open(stub->RestoreFiles(&c.context()), true); };
  return std::make_unique<restore>(std::make_unique<restore_call>(std::move(first)), open,
                                   std::move(callbacks), std::move(source));
}

}  // namespace understudy::files
