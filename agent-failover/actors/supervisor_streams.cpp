#include <fmt/core.h>

#include <ctime>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/actors/supervisor.hpp"

namespace understudy::actors {
namespace {

using policy::event_kind;
using policy::phase;
using policy::step_id;
using std::chrono::seconds;

constexpr seconds copy_gives_up{60};  // a bulk copy without a connected agent
constexpr int code_unavailable = 14;  // google.rpc.Code

}  // namespace

void supervisor::keep_streams() {
  // While a step is at work on the copies, it alone starts and stops what feeds them.
  const bool draining = machine_.doing == step_id::stop_primary || machine_.doing == step_id::drain_primary;
  if (shutting_down_ || (machine_.doing != step_id::none && !draining)) return;
  const bool allowed =
      connected_ && !versions_.refused && (draining || machine_.owner == policy::right_owner::primary);
  const bool copy = machine_.replication.has_copy || copy_running_;
  {
    std::lock_guard lock(streams_->mutex);
    streams_->wanted = {.databases = allowed && databases_wanted_ && copy && !daily_only(),
                        .files = allowed && files_wanted_ && copy};
    if (std::exchange(streams_->queued, true)) return;
  }
  worker_->post([runner = runner_, link = link_, streams = streams_] {
    server::streams_wanted wanted;
    {
      std::lock_guard lock(streams->mutex);
      streams->queued = false;
      wanted = streams->wanted;
    }
    runner->copies().keep(wanted == server::streams_wanted{} ? nullptr : link->channel(), wanted);
  });
}

// Ends the streams, so that the next ones begin with a comparison of hashes.
void supervisor::compare_anew() {
  compared_anew_->store(false);
  worker_->post([runner = runner_, begun = compared_anew_] {
    runner->copies().verify_with_primary();
    begun->store(true);
  });
}

// Warm: the databases are at rest between two daily copies.
bool supervisor::daily_only() const {
  return spec_.mode() == v1::REPLICATION_MODE_WARM && !copy_running_ && !verifying_;
}

void supervisor::follow_copy() {
  const bool anew = compared_anew_->load();  // before the snapshots, which must not be older
  const auto databases = runner_->copies().databases();
  const auto files = runner_->copies().files();
  bool streaming = anew;
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::string what;
  const auto look = [&](const v1::CopyStatus& copy) {
    if (copy.phase() == v1::COPY_PHASE_STREAMING) return;
    streaming = false;
    done += copy.bytes_done();
    total += copy.bytes_total();
    if (what.empty()) what = fmt::format("{}: {}", copy.name(), copy.reason());
  };
  if (!daily_only()) {
    for (const auto& copy : databases) look(copy);
  }
  for (const auto& copy : files) look(copy);

  if (copy_running_) {
    if (connected_) copy_last_alive_ = steady_clock::now();
    operations_->progress(what.empty() ? "comparing" : what, done, total);
    if (streaming && runner_->copies().complete()) {
      copy_running_ = false;
      happen(policy::happened(event_kind::copy_done));
      if (operations_->kind() == v1::OPERATION_KIND_REPLICATE_FROM_LIVE)
        operations_->succeed("the copy is verified and in step");
    } else if (steady_clock::now() - copy_last_alive_ > copy_gives_up) {
      copy_running_ = false;
      const std::string reason = fmt::format("the agent is not reachable: {}", agent_trouble_);
      happen(policy::happened(event_kind::copy_failed, reason));
      if (operations_->kind() == v1::OPERATION_KIND_REPLICATE_FROM_LIVE)
        operations_->fail(code_unavailable, reason);
    }
  }
  if (verifying_ && streaming) verify_finished();
  if (verifying_ && !connected_)
    drop_verify(code_unavailable, "the agent went away while the copies were compared");
  const auto now = machine_.replication.at;
  if (now == policy::copy_phase::unprotected || now == policy::copy_phase::stopped || copy_running_) return;
  const policy::copy_phase seen = !connected_ ? policy::copy_phase::cut
                                  : streaming ? policy::copy_phase::streaming
                                              : policy::copy_phase::behind;
  if (seen == now || (seen == copy_seen_ && committing_)) return;
  copy_seen_ = seen;
  policy::event event =
      policy::happened(event_kind::replication_changed, seen == policy::copy_phase::streaming ? "" : what);
  event.replication = seen;
  happen(std::move(event));
}

void supervisor::drop_verify(int grpc_code, const std::string& reason) {
  verifying_ = false;
  if (operations_->kind() == v1::OPERATION_KIND_VERIFY) operations_->fail(grpc_code, reason);
}

void supervisor::verify_finished() {
  verifying_ = false;
  if (operations_->kind() != v1::OPERATION_KIND_VERIFY) return;
  std::string text;
  for (const auto& copy : runner_->copies().databases()) {
    text += fmt::format("{}{}: equal", text.empty() ? "" : ", ", copy.name());
    if (copy.heals() > 0) text += fmt::format(" ({} heals so far)", copy.heals());
  }
  operations_->succeed(text.empty() ? "there is no database to compare" : text);
}

// The daily replication of this day, once, at its time in the host's time zone.
void supervisor::daily() {
  if (spec_.daily().empty() || machine_.at != phase::monitoring || copy_running_) return;
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  const std::string time = fmt::format("{:02}:{:02}", local.tm_hour, local.tm_min);
  const std::string day = fmt::format("{}-{:03}", local.tm_year + 1900, local.tm_yday);
  if (time != spec_.daily() || day == daily_done_) return;
  daily_done_ = day;
  happen(policy::happened(event_kind::operator_replicate_from_live, "", "daily replication"));
}

}  // namespace understudy::actors
