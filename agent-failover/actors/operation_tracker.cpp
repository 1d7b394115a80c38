#include "agent-failover/actors/operation_tracker.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <atomic>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/api/board.hpp"
#include "common/rpc/timestamp.hpp"

namespace understudy::actors {
namespace {

using google::protobuf::util::TimeUtil;
using policy::phase;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds rate_window{1000};
constexpr int code_cancelled = 1;  // google.rpc.Code
constexpr int code_failed_precondition = 9;

// Operation names are unique within a state directory's life: the time, in milliseconds, and never the same
// twice, for primaries fail together.
std::string unique_name(v1::OperationKind kind) {
  static std::atomic<std::int64_t> last{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::int64_t ms = std::chrono::duration_cast<milliseconds>(now).count();
  std::int64_t before = last.load();
  while (!last.compare_exchange_weak(before, std::max(ms, before + 1))) {
  }
  return fmt::format("{}-{}", word_of(kind), std::max(ms, before + 1));
}

}  // namespace

std::string operation_tracker::begin(v1::OperationKind kind, const std::string& actor) {
  if (current_) fail(code_cancelled, "overtaken by another command");
  current_.emplace();
  current_->set_name(unique_name(kind));
  current_->set_server(server_);
  current_->set_kind(kind);
  current_->set_actor(actor);
  *current_->mutable_started_at() = rpc::timestamp_now();
  sampled_at_ = steady_clock::now();
  sampled_bytes_ = 0;
  publish();
  return current_->name();
}

void operation_tracker::progress(const std::string& phase, std::uint64_t bytes_done,
                                 std::uint64_t bytes_total) {
  if (!current_) return;
  const auto now = steady_clock::now();
  if (current_->phase() == phase && current_->bytes_done() == bytes_done &&
      current_->bytes_total() == bytes_total)
    return;
  if (now - sampled_at_ >= rate_window) {
    const auto elapsed = std::chrono::duration_cast<milliseconds>(now - sampled_at_).count();
    const std::uint64_t rate =
        bytes_done > sampled_bytes_ ? (bytes_done - sampled_bytes_) * 1000 / elapsed : 0;
    current_->set_rate(rate);
    current_->clear_eta();
    if (rate > 0 && bytes_total > bytes_done) {
      *current_->mutable_eta() =
          TimeUtil::SecondsToDuration(static_cast<std::int64_t>((bytes_total - bytes_done) / rate));
    }
    sampled_at_ = now;
    sampled_bytes_ = bytes_done;
  }
  current_->set_phase(phase);
  current_->set_bytes_done(bytes_done);
  current_->set_bytes_total(bytes_total);
  publish();
}

void operation_tracker::succeed(const std::string& result) {
  if (!current_) return;
  current_->set_done(true);
  current_->set_result(result);
  *current_->mutable_ended_at() = rpc::timestamp_now();
  publish();
  current_.reset();
}

void operation_tracker::fail(int grpc_code, const std::string& reason) {
  if (!current_) return;
  current_->set_done(true);
  current_->mutable_error()->set_code(grpc_code);
  current_->mutable_error()->set_message(reason);
  *current_->mutable_ended_at() = rpc::timestamp_now();
  publish();
  current_.reset();
}

void operation_tracker::follow(const policy::primary_state& before, const policy::primary_state& after) {
  if (current_) end_or_go_on(before, after);
  if (current_) return;
  // A takeover or failback that nobody asked for is followed all the same, also when it ended another one.
  const bool claims = before.at != phase::claiming && after.at == phase::claiming;
  const bool fails_back = before.at != phase::failing_back && after.at == phase::failing_back;
  if (claims) begin(v1::OPERATION_KIND_FAILOVER, "automatic");
  if (fails_back) begin(v1::OPERATION_KIND_FAILBACK, "automatic");
  if (claims || fails_back) progress(policy::name_of(after), 0, 0);
}

void operation_tracker::end_or_go_on(const policy::primary_state& before,
                                     const policy::primary_state& after) {
  if (after.doing != policy::step_id::none && after.doing != before.doing)
    progress(policy::name_of(after), 0, 0);
  if (before.at == after.at) return;
  switch (current_->kind()) {
    case v1::OPERATION_KIND_FAILOVER:
      if (after.at == phase::standing_in) succeed("the stand-in serves");
      if (after.at == phase::blocked || after.at == phase::monitoring || after.at == phase::stood_down ||
          after.at == phase::suspended || after.at == phase::stopped) {
        fail(code_failed_precondition, after.reason.empty() ? policy::name_of(after) : after.reason);
      }
      break;
    case v1::OPERATION_KIND_STOP_FAILOVER:
      if (after.at == phase::stood_down) succeed("the stand-in is stopped; the copy is the newest data");
      if (after.at == phase::standing_in) fail(code_failed_precondition, after.reason);
      break;
    case v1::OPERATION_KIND_FAILBACK:
    case v1::OPERATION_KIND_REPLICATE_TO_LIVE:
      if (after.at == phase::monitoring) succeed("the primary serves again");
      // Given up: the stand-in serves on or again, or the primary failed once more before it served.
      else if (before.at == phase::failing_back) {
        fail(code_failed_precondition, after.reason.empty() ? "the failback was given up" : after.reason);
      }
      break;
    default:
      break;
  }
}

void operation_tracker::publish() {
  board_.publish(*current_);
}

}  // namespace understudy::actors
