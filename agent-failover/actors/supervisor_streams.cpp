#include <fmt/core.h>

#include <utility>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/actors/journal.hpp"
#include "agent-failover/actors/supervisor.hpp"
#include "common/log/log.hpp"

namespace understudy::actors {
namespace {

using policy::event_kind;
using policy::phase;
using policy::step_id;
using std::chrono::seconds;

constexpr seconds copy_gives_up{60};          // a bulk copy without a connected agent
constexpr seconds daily_again_after{3600};    // a daily replication that failed
constexpr seconds daily_answered_within{10};  // a request of ours that waits behind a commit
constexpr int code_unavailable = 14;          // google.rpc.Code
constexpr int code_internal = 13;

}  // namespace

void supervisor::keep_streams() {
  // While a step is at work on the copies, it alone starts and stops what feeds them.
  const bool draining = machine_.doing == step_id::stop_primary || machine_.doing == step_id::drain_primary;
  if (shutting_down_ || (machine_.doing != step_id::none && !draining)) return;
  const bool ours = !versions_.refused && (draining || machine_.owner == policy::right_owner::primary);
  const bool allowed = connected_ && ours;
  const bool copy = machine_.replication.has_copy || copy_running_;
  {
    std::lock_guard lock(streams_->mutex);
    streams_->wanted = {.databases = allowed && databases_wanted_ && copy && !at_rest(),
                        .files = allowed && files_wanted_ && copy,
                        // A line that is cut for a moment does not end it.
                        .generation = ours && databases_wanted_ && copy_running_ && at_rest(),
                        .tables = allowed && databases_wanted_ && at_rest()};
    streams_->keep = true;
  }
  queue_streams();
}

// Ends the streams, so that the next ones begin with a comparison of hashes.
void supervisor::compare_anew() {
  compared_anew_->store(false);
  {
    std::lock_guard lock(streams_->mutex);
    streams_->anew = true;
  }
  queue_streams();
}

void supervisor::queue_streams() {
  {
    std::lock_guard lock(streams_->mutex);
    if (std::exchange(streams_->queued, true)) return;
  }
  worker_->post([runner = runner_, link = link_, streams = streams_, begun = compared_anew_] {
    server::streams_wanted wanted;
    bool anew = false;
    bool keep = false;
    {
      std::lock_guard lock(streams->mutex);
      streams->queued = false;
      wanted = streams->wanted;
      anew = std::exchange(streams->anew, false);
      keep = std::exchange(streams->keep, false);
    }
    if (anew) {
      runner->copies().verify_with_primary();
      begun->store(true);
    }
    if (keep) runner->copies().keep(wanted == server::streams_wanted{} ? nullptr : link->channel(), wanted);
  });
}

// The databases are at rest between two daily copies, but for the tables of mode `configuration`.
bool supervisor::at_rest() const {
  return spec_.mode() == v1::REPLICATION_MODE_WARM || spec_.mode() == v1::REPLICATION_MODE_CONFIGURATION;
}

void supervisor::read_again() {
  reading_ = true;
  reading_said_.clear();
  reading_problem_.clear();
  runner_->copies().caretaker().verify(connected_ ? link_->channel() : nullptr);
}

// The files of both sides were read: what differed is known to be so, and is brought by the comparison that
// follows.
void supervisor::follow_reading() {
  if (!reading_ || runner_->copies().caretaker().verifying()) return;
  reading_ = false;
  bool different_here = false;
  for (const auto& found : runner_->copies().caretaker().take_verified()) {
    reading_said_ += (reading_said_.empty() ? "" : "; ") + server::in_words(found);
    different_here = different_here || found.different_here > 0;
    if (reading_problem_.empty() && !found.problem.empty()) reading_problem_ = server::in_words(found);
    if (found.different_here > 0 || found.different_there > 0)
      record(
          policy::notice::copy_diverged,
          server::in_words(found) + (found.different_here > 0 ? "; what differs here is brought again" : ""));
  }
  if (!at_rest()) {
    compare_anew();
    keep_streams();
  }
  if (different_here && at_rest()) daily_wanted_ = true;
}

void supervisor::tell_divergences() {
  for (const std::string& text : runner_->copies().caretaker().take_divergences()) {
    record(policy::notice::copy_diverged, text);
    if (at_rest()) daily_wanted_ = true;
  }
  for (const std::string& text : runner_->copies().caretaker().take_large_logs())
    record(policy::notice::log_grows, text);
}

// An event that no decision is made about.
void supervisor::record(policy::notice what, const std::string& text) {
  auto changes = std::make_shared<store::changes>();
  changes->events.push_back(make_event({.kind = policy::action_kind::raise, .what = what, .text = text}, {}));
  log::warning(spec_.name(), "{}: {}", policy::to_string(what), text);
  self_->request(around_->journal, journal_timeout, atom::commit_v, changes_ptr(std::move(changes)))
      .then([](const changes_ptr&) {}, [](const caf::error&) {});  // the log has it
}

void supervisor::copy_ended(const std::string& trouble, int grpc_code) {
  copy_running_ = false;
  const bool asked_for = operations_->kind() == v1::OPERATION_KIND_REPLICATE_FROM_LIVE;
  if (!trouble.empty()) {
    daily_failed_ = steady_clock::now();
    happen(policy::happened(event_kind::copy_failed, trouble));
    if (asked_for) operations_->fail(grpc_code, trouble);
    return;
  }
  daily_failed_.reset();
  daily_wanted_ = false;
  worker_->post([runner = runner_, begun = copy_begun_] { runner->copies().note_daily_done(begun); });
  const std::string without = at_rest() ? tell_missing() : "";
  happen(policy::happened(event_kind::copy_done));
  if (asked_for)
    operations_->succeed(at_rest() ? "the new generation is verified and in use" + without
                                   : "the copy is verified and in step");
}

// Each once for as long as it is missing, not each day anew. What the generation went without, in words.
std::string supervisor::tell_missing() {
  std::string without;
  std::set<std::string> now;
  for (const auto& [catalog, why] : runner_->copies().missing_there()) {
    now.insert(catalog);
    without += fmt::format(", without {} ({})", catalog, why);
    if (!missing_told_.contains(catalog))
      record(policy::notice::replication_failed,
             fmt::format("{}: {}; the new generation has everything else", catalog, why));
  }
  missing_told_ = std::move(now);
  return without;
}

void supervisor::follow_copy() {
  follow_reading();
  tell_divergences();
  const bool anew = compared_anew_->load();  // before the snapshots, which must not be older
  const auto databases = runner_->copies().databases();
  const auto files = runner_->copies().files();
  const server::daily_state daily = runner_->copies().daily();
  bool streaming = anew && !reading_;
  std::uint64_t done = 0;
  std::uint64_t total = 0;
  std::string what;
  const auto look = [&](const v1::CopyStatus& copy) {
    const bool gone = copy.phase() == v1::COPY_PHASE_STOPPED;
    if (copy.phase() == v1::COPY_PHASE_STREAMING || gone) return;
    streaming = false;
    done += copy.bytes_done();
    total += copy.bytes_total();
    if (what.empty()) what = fmt::format("{}: {}", copy.name(), copy.reason());
  };
  for (const auto& copy : databases) {
    // What is at rest is not behind; the named tables are told of below.
    if (!at_rest()) look(copy);
  }
  if (files_wanted_ || machine_.at != phase::suspended) {
    for (const auto& copy : files) look(copy);
  }

  if (streaming) space_told_ = false;
  if (const std::string full = runner_->copies().out_of_space(); !full.empty() && !space_told_) {
    space_told_ = true;
    record(policy::notice::replication_failed, full + "; it goes on by itself when there is space again");
  }

  if (copy_running_) {
    if (connected_) copy_last_alive_ = steady_clock::now();
    using generation = server::daily_state::phase;
    if (at_rest()) {
      if (daily.now != generation::done) streaming = false;
      if (daily.now == generation::ready) keep_streams();
      what = daily.reason.empty() ? what : daily.reason;
      done += daily.bytes_done;
      total += daily.bytes_total;
    }
    operations_->progress(what.empty() ? "comparing" : what, done, total);
    // Without `anew` it may be how the last one ended.
    if (at_rest() && anew && daily.now == generation::failed) {
      copy_ended(daily.reason, code_internal);
    } else if (streaming && !reading_problem_.empty()) {
      copy_ended(std::exchange(reading_problem_, {}), code_internal);
    } else if (streaming && runner_->copies().complete()) {
      copy_ended("");
    } else if (steady_clock::now() - copy_last_alive_ > copy_gives_up) {
      copy_ended(fmt::format("the agent is not reachable: {}", agent_trouble_), code_unavailable);
    }
  }
  for (const auto& copy : databases) {
    if (!copy.tables().empty()) look(copy);
  }
  if (verifying_ && !reading_ && (streaming || at_rest())) verify_finished();
  if (verifying_ && !connected_)
    drop_verify(code_unavailable, "the agent went away while the copies were compared");
  const auto now = machine_.replication.at;
  if (now == policy::copy_phase::unprotected || now == policy::copy_phase::stopped || copy_running_) return;
  const policy::copy_phase seen = !connected_ ? policy::copy_phase::cut
                                  : streaming ? policy::copy_phase::streaming
                                              : policy::copy_phase::behind;
  if (seen == now || (seen == copy_seen_ && committing_) || reading_) return;
  copy_seen_ = seen;
  policy::event event =
      policy::happened(event_kind::replication_changed, seen == policy::copy_phase::streaming ? "" : what);
  event.replication = seen;
  happen(std::move(event));
}

void supervisor::drop_verify(int grpc_code, const std::string& reason) {
  verifying_ = false;
  if (std::exchange(reading_, false)) runner_->copies().caretaker().cancel();
  reading_problem_.clear();
  if (operations_->kind() == v1::OPERATION_KIND_VERIFY) operations_->fail(grpc_code, reason);
}

void supervisor::verify_finished() {
  verifying_ = false;
  if (operations_->kind() != v1::OPERATION_KIND_VERIFY) return;
  if (!std::exchange(reading_problem_, {}).empty()) return operations_->fail(code_internal, reading_said_);
  std::string text = reading_said_;
  if (text.empty()) text = "there is no database to compare";
  if (!at_rest() && !reading_said_.empty()) text += "; equal to what the primary committed";
  if (daily_wanted_) text += "; a new copy is made";
  operations_->succeed(text);
}

// Due once for each day, and until it is done: see daily_schedule.
void supervisor::daily() {
  if (copy_running_ || verifying_) return;
  if (machine_.at != phase::monitoring && machine_.at != phase::suspended) return;
  const auto now_by_the_wall = system_clock::now();
  auto done = runner_->copies().daily_done();
  // Recorded under a clock that was ahead: nothing would be due before that time came again.
  if (done && *done > now_by_the_wall) {
    done = now_by_the_wall;
    worker_->post([runner = runner_, now_by_the_wall] { runner->copies().note_daily_done(now_by_the_wall); });
  }
  const bool due = daily_schedule_ && done && server::is_due(*daily_schedule_, *done, now_by_the_wall);
  if (!due && !daily_wanted_) return;
  const auto now = steady_clock::now();
  // What failed because nobody answered would fail again.
  if (daily_failed_ && (now < *daily_failed_ + daily_again_after || !connected_)) return;
  if (daily_asked_ != steady_clock::time_point{} && now < daily_asked_ + daily_answered_within) return;
  daily_asked_ = now;
  happen(policy::happened(event_kind::operator_replicate_from_live, "", "daily replication"));
}

}  // namespace understudy::actors
