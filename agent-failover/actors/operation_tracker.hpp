#pragma once

// The long action that a server is going through, as operators follow it. Publishes to the board.

#include <chrono>
#include <optional>
#include <string>

#include "agent-failover/policy/state.hpp"
#include "understudy/v1/operation.pb.h"

namespace understudy::api {
class board;
}

namespace understudy::actors {

class operation_tracker {
 public:
  operation_tracker(api::board& board, std::string server) : board_(board), server_(std::move(server)) {}

  // Begins one (an earlier one that has not ended fails: "overtaken"). Its name.
  std::string begin(v1::OperationKind kind, const std::string& actor);
  bool running() const { return current_.has_value(); }
  v1::OperationKind kind() const { return current_ ? current_->kind() : v1::OPERATION_KIND_UNSPECIFIED; }
  std::string name() const { return current_ ? current_->name() : ""; }

  void progress(const std::string& phase, std::uint64_t bytes_done, std::uint64_t bytes_total);
  void succeed(const std::string& result);
  void fail(int grpc_code, const std::string& reason);

  // The machine moved: ends the operation if that is what it was for, or has failed.
  void follow(const policy::primary_state& before, const policy::primary_state& after);

 private:
  void end_or_go_on(const policy::primary_state& before, const policy::primary_state& after);
  void publish();

  api::board& board_;
  const std::string server_;
  std::optional<v1::Operation> current_;
  std::chrono::steady_clock::time_point sampled_at_;
  std::uint64_t sampled_bytes_ = 0;
};

}  // namespace understudy::actors
