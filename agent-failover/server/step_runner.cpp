#include "agent-failover/server/step_runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "agent-failover/link/agent_connection.hpp"
#include "agent-failover/network/address_claim.hpp"
#include "agent-failover/server/copied_databases.hpp"
#include "agent-failover/server/file_feeds.hpp"
#include "agent-failover/server/histories.hpp"
#include "agent-failover/server/hook.hpp"
#include "agent-failover/server/made_databases.hpp"
#include "agent-failover/server/running_application.hpp"
#include "agent-failover/server/timed_wait.hpp"
#include "common/log/log.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using policy::failure;
using policy::step_id;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using std::chrono::steady_clock;

// A dead primary must not cost a takeover its time: it was silent for the whole detection already.
constexpr milliseconds fence_a_silent_one{150};
constexpr seconds stop_primary_timeout{60};  // applications stop one after the other, 10 s of grace each
constexpr seconds drain_timeout{60};
constexpr minutes catch_up_timeout{30};  // of databases that rest, while the primary still serves
constexpr seconds start_timeout{90};     // the application's own start; its check included
constexpr seconds stop_timeout{60};
constexpr seconds check_timeout{30};
constexpr milliseconds check_poll{20};
constexpr seconds reverse_heal_timeout{24 * 3600};  // a whole disk over a slow line; an operator may cancel
constexpr seconds silence_lasts{5};
constexpr seconds last_commits_timeout{5};  // of a primary that was stopped at the last moment
constexpr seconds grant_timeout{30};
constexpr milliseconds describe_timeout{10000};
constexpr milliseconds reading_poll{200};
constexpr seconds start_primary_timeout{120};
constexpr seconds reconnect_timeout{20};        // after the address moved, the agent is met again under it
constexpr milliseconds prompt_answer{2000};     // of an agent that is there; it answers within milliseconds
constexpr milliseconds fresh_probe{10000};      // an address found free this recently is taken as free
constexpr milliseconds full_probe_needs{9500};  // RFC 5227 takes 4 to 9 s

constexpr const char* diverged_reason = "DIVERGED";  // also the agent's word
constexpr int adopt_attempts = 3;                    // an image that changed on the way is sent again

// How the state machine hears of a failure.
failure kind_of(step_id which, const absl::Status& status) {
  if (which == step_id::verify_copy) return failure::copy_stale;
  if (which == step_id::pre_hook) return failure::hook_veto;
  if (which == step_id::address_probe && absl::IsAlreadyExists(status)) return failure::address_in_use;
  if (rpc::reason_of(status) == diverged_reason) return failure::diverged;
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) return failure::unreachable;
  return failure::other;
}

v1::DivergedChoice to_proto(policy::diverged_choice choice) {
  switch (choice) {
    case policy::diverged_choice::none:
      return v1::DIVERGED_CHOICE_UNSPECIFIED;
    case policy::diverged_choice::discard_primary:
      return v1::DIVERGED_CHOICE_DISCARD_PRIMARY;
    case policy::diverged_choice::keep_primary:
      return v1::DIVERGED_CHOICE_KEEP_PRIMARY;
  }
  return v1::DIVERGED_CHOICE_UNSPECIFIED;
}

}  // namespace

step_runner::step_runner(parts given, const v1::ServerSpec& spec, const v1::Settings& settings, callbacks on)
    : parts_(std::move(given)),
      spec_(spec),
      on_(std::move(on)),
      layout_(parts_.data_dir, spec_),
      copies_(parts_.fs, layout_, spec_, on_.changed),
      stand_in_(spec_, layout_, settings.application_dir(), on_.changed),
      addresses_(spec_, settings, on_.conflict),
      shared_address_(spec_.assume_ip() && spec_.service_addresses().empty()) {
  if (parts_.feeds != nullptr) copies_.tell_file_changes(parts_.feeds->of(spec_.name()));
}

void step_runner::keep_history(const v1::Settings& settings) {
  if (parts_.past == nullptr) return;
  settings_ = settings;
  const auto keeper = parts_.past->keep(spec_, settings);
  copies_.keep_history(keeper.get());
  if (!keeper) parts_.past->drop(spec_);
}

absl::Status step_runner::open() {
  return copies_.open();
}

void step_runner::adopt(const v1::ServerSpec& spec) {
  spec_ = spec;
  const auto keeper = parts_.past != nullptr ? parts_.past->keep(spec_, settings_) : nullptr;
  if (absl::Status adopted = copies_.adopt(spec_, keeper.get()); !adopted.ok()) {
    log::error(spec_.name(), "a database that its agent found has no place here: {}", message_of(adopted));
  }
  if (absl::Status opened = stand_in_.adopt(spec_); !opened.ok()) {
    log::error(spec_.name(), "the stand-in's processes cannot be found again: {}", message_of(opened));
  }
}

step_outcome step_runner::run(const step_context& context) {
  running_ = context.serial;
  step_outcome outcome;
  const auto begun = steady_clock::now();
  bool stand_in_ran = false;
  absl::Status status = cancelled() ? absl::CancelledError("cancelled") : dispatch(context, outcome);
  if (context.which == step_id::start_application) stand_in_ran = !status.ok() && stand_in_.up();
  const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
  if (status.ok()) {
    log::info(spec_.name(), "{} done in {} ms", policy::to_string(context.which), took.count());
    outcome.event = policy::done(context.which);
  } else {
    log::warning(spec_.name(), "{} failed after {} ms: {}", policy::to_string(context.which), took.count(),
                 message_of(status));
    drop_way_back_of(context.which);
    outcome.event = policy::failed(context.which, kind_of(context.which, status),
                                   std::string(message_of(status)), stand_in_ran);
  }
  return outcome;
}

absl::Status step_runner::dispatch(const step_context& context, step_outcome& outcome) {
  switch (context.which) {
    case step_id::none:
      return absl::OkStatus();
    case step_id::claim_right:
      return absl::OkStatus();  // compat: nobody else could hold a lease
    case step_id::stop_primary:
      return stop_primary(context);
    case step_id::drain_primary:
      return copies_.drain(drain_timeout, parts_.agent.channel());
    case step_id::freeze_apply:
      return freeze(context, outcome);
    case step_id::verify_copy:
      return context.copy_newest ? copies_.registers().status() : copies_.verify(frozen_);
    case step_id::pre_hook:
      return hook(spec_.pre_hook(), "pre-hook");
    case step_id::fence:
    case step_id::fence_again:
      return fence(context);
    case step_id::address_probe:
      return probe();
    case step_id::add_address:
      return add_addresses();
    case step_id::start_application:
      return start_application();
    case step_id::application_check:
      return check_application();
    case step_id::announce:
      addresses_.announce();
      return absl::OkStatus();
    case step_id::post_hook:
      return hook(spec_.post_hook(), "post-hook");
    case step_id::return_address:
      return release_addresses();
    case step_id::return_right:
      // The agent hears of it when it is there again, if it is not now.
      if (absl::Status told = grant(context, true); !told.ok()) {
        log::info(spec_.name(), "the agent is told later that it has the right: {}", message_of(told));
      }
      return absl::OkStatus();
    case step_id::stop_application:
    case step_id::stop_stand_in:
      // Where the primary's data wins, it has to be there before the one that serves is stopped.
      if (context.which == step_id::stop_stand_in &&
          context.choice == policy::diverged_choice::keep_primary) {
        UNDERSTUDY_RETURN_IF_ERROR(check_primary_whole(context));
      }
      return stop_application();
    case step_id::fold_copy:
      return copies_.take_back();
    case step_id::give_up_address:
      return release_addresses();
    case step_id::release_address:
      UNDERSTUDY_RETURN_IF_ERROR(release_addresses());
      return set_aside_what_had_no_copy(context);
    case step_id::reverse_heal:
      return reverse_heal(context);
    case step_id::drain:
      return drain(context);
    case step_id::set_aside:
      return set_aside(context, outcome);
    case step_id::verify_equal:
      return absl::OkStatus();  // the agent adopted the image only because its hashes were equal
    case step_id::hand_over:
      return absl::OkStatus();  // recorded by the state machine's own commit
    case step_id::start_primary:
      return grant(context, true);
  }
  return absl::InternalError("unknown step");
}

v1::HoldLeaseRequest step_runner::fence_request(const step_context& context) const {
  v1::HoldLeaseRequest request;
  auto& order = *request.mutable_fence();
  order.set_epoch(context.epoch);
  order.set_owner(parts_.host_name);
  order.set_reason(fmt::format("{} stands in", parts_.host_name));
  *order.mutable_service_addresses() = spec_.service_addresses();
  return request;
}

absl::Status step_runner::stop_primary(const step_context& context) {
  UNDERSTUDY_RETURN_IF_ERROR(await_agent());
  UNDERSTUDY_RETURN_IF_ERROR(
      copies_.catch_up(parts_.agent.channel(), catch_up_timeout, [this] { return cancelled(); }));
  UNDERSTUDY_RETURN_IF_ERROR(parts_.agent.exchange(fence_request(context), stop_primary_timeout).status());
  return await_primary_down(stop_primary_timeout);
}

// An agent answers a fence when it has recorded it; its applications stop in their own time, and what they
// commit until then is still to be fetched. The service addresses go last.
absl::Status step_runner::await_primary_down(milliseconds timeout, bool addresses) {
  const auto deadline = steady_clock::now() + timeout;
  timed_wait poll;
  for (;;) {
    if (cancelled()) return absl::CancelledError("cancelled");
    auto state = parts_.agent.exchange({}, describe_timeout);
    if (!state.ok()) return state.status();
    const bool addresses_gone =
        !addresses || spec_.service_addresses().empty() || state->held_addresses().empty();
    const std::string running = running_application(*state);
    if (running.empty() && addresses_gone) return absl::OkStatus();
    if (steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(running.empty()
                                             ? "the primary does not give its service addresses back"
                                             : fmt::format("{} does not stop on the primary", running));
    }
    poll.until(steady_clock::now() + check_poll, [] { return false; });
  }
}

absl::Status step_runner::fence(const step_context& context) {
  const milliseconds timeout = context.why == policy::cause::planned || context.which == step_id::fence_again
                                   ? milliseconds(stop_primary_timeout)
                                   : fence_a_silent_one;
  if (context.why == policy::cause::automatic && steady_clock::now() - found_silent_ < silence_lasts) {
    return absl::OkStatus();  // asked a moment ago, in vain
  }
  auto answer = parts_.agent.exchange(fence_request(context), timeout);
  if (answer.ok()) return await_primary_down(milliseconds(stop_primary_timeout));
  // One that hears and refuses is not a silent one: it serves, and goes on serving.
  const bool silent = absl::IsUnavailable(answer.status()) || absl::IsDeadlineExceeded(answer.status());
  if (!silent || context.why == policy::cause::planned || context.which == step_id::fence_again)
    return answer.status();
  log::info(spec_.name(), "the primary cannot be told: {}", message_of(answer.status()));
  return absl::OkStatus();
}

absl::Status step_runner::freeze(const step_context& context, step_outcome& outcome) {
  // A primary that is silent to pings but whose agent answers is stopped first, and its last commits are
  // fetched.
  if (context.why == policy::cause::automatic && parts_.agent.connected()) {
    if (!parts_.agent.exchange(fence_request(context), fence_a_silent_one).ok()) {
      found_silent_ = steady_clock::now();
    } else if (await_primary_down(milliseconds(stop_primary_timeout)).ok()) {
      if (absl::Status drained = copies_.drain(last_commits_timeout); !drained.ok()) {
        log::warning(spec_.name(), "not all of the primary's last commits were fetched: {}",
                     message_of(drained));
      }
    }
  }
  copies_.stop();
  // The copy is ahead of the primary already: what the first takeover froze stays the base of any comparison.
  if (context.copy_newest) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(outcome.frozen, copies_.registers());
  if (const auto without = copies_.without_copy(); !without.empty())
    outcome.note =
        fmt::format("the stand-in goes without {}: there is no copy yet", fmt::join(without, ", "));
  frozen_ = outcome.frozen;
  return mark_takeover(parts_.fs, layout_);
}

void step_runner::probe_ahead(milliseconds time_left) {
  ahead_ = addresses_.probe(time_left >= full_probe_needs ? network::acd_timings{} : network::quick_acd);
  ahead_at_ = steady_clock::now();
  if (!ahead_.ok()) log::info(spec_.name(), "probing ahead of a takeover: {}", message_of(ahead_));
}

absl::Status step_runner::probe() {
  if (ahead_.ok() && steady_clock::now() - ahead_at_ < fresh_probe) return absl::OkStatus();
  return addresses_.probe(network::quick_acd);
}

absl::Status step_runner::add_addresses() {
  // Before the address is ours: once it is, pings and the agent's line would reach this host itself.
  if (shared_address_) on_.own_address_held(true);
  absl::Status added = addresses_.add();
  if (!added.ok() && shared_address_) on_.own_address_held(false);
  return added;
}

absl::Status step_runner::release_addresses() {
  UNDERSTUDY_RETURN_IF_ERROR(addresses_.release());
  if (shared_address_) on_.own_address_held(false);
  return absl::OkStatus();
}

absl::Status step_runner::start_application() {
  if (!stand_in_.up()) {
    UNDERSTUDY_RETURN_IF_ERROR(copies_.release_to_stand_in());
  }
  return stand_in_.start(start_timeout);
}

absl::Status step_runner::check_application() {
  const auto deadline = steady_clock::now() + check_timeout;
  timed_wait poll;
  for (;;) {
    absl::Status healthy = stand_in_.healthy();
    if (healthy.ok() || steady_clock::now() >= deadline || cancelled()) return healthy;
    poll.until(steady_clock::now() + check_poll, [] { return false; });
  }
}

absl::Status step_runner::stop_application() {
  UNDERSTUDY_RETURN_IF_ERROR(stand_in_.stop(stop_timeout));
  if (stand_in_.up()) return absl::UnavailableError("the stand-in does not stop");
  return absl::OkStatus();
}

absl::Status step_runner::hook(const google::protobuf::RepeatedPtrField<std::string>& command,
                               const char* name) {
  if (command.empty()) return absl::OkStatus();
  return run_hook({command.begin(), command.end()}, {"UNDERSTUDY_SERVER=" + spec_.name()}, name);
}

absl::Status step_runner::grant(const step_context& context, bool start_applications) {
  v1::HoldLeaseRequest request;
  auto& order = *request.mutable_grant();
  order.set_epoch(context.epoch);
  order.set_start_applications(start_applications);
  *order.mutable_service_addresses() = spec_.service_addresses();
  // With a shared address the line was led elsewhere until a moment ago.
  if (context.which == step_id::start_primary) UNDERSTUDY_RETURN_IF_ERROR(await_agent());
  return parts_.agent
      .exchange(std::move(request),
                start_applications ? milliseconds(start_primary_timeout) : milliseconds(grant_timeout))
      .status();
}

// The primary answers, is fenced, and has every database that is protected.
absl::Status step_runner::check_primary_whole(const step_context& context) {
  UNDERSTUDY_RETURN_IF_ERROR(await_agent());
  UNDERSTUDY_RETURN_IF_ERROR(parts_.agent.exchange(fence_request(context), stop_primary_timeout).status());
  UNDERSTUDY_RETURN_IF_ERROR(await_primary_down(stop_primary_timeout));
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::DescribeResponse there, parts_.agent.describe(describe_timeout));
  for (const auto& database : spec_.databases()) {
    if (database.found()) continue;  // what is there of it wins, and where nothing is, nothing does
    const auto found = std::find_if(there.databases().begin(), there.databases().end(),
                                    [&](const auto& one) { return one.catalog() == database.catalog(); });
    if (found == there.databases().end() || found->status().phase() != v1::SourceStatus::PHASE_READY) {
      return absl::UnavailableError(fmt::format(
          "the primary has no {} that could win: {}", database.catalog(),
          found == there.databases().end() ? "its agent does not know it" : found->status().reason()));
    }
  }
  return absl::OkStatus();
}

// An agent that has just started reads its databases first; what it has is known after that. The stand-in
// serves meanwhile, so it is waited for as long as it takes.
absl::StatusOr<v1::DescribeResponse> step_runner::describe_when_read() {
  timed_wait poll;
  for (;;) {
    if (cancelled()) return absl::CancelledError("cancelled");
    auto there = parts_.agent.describe(describe_timeout);
    if (!there.ok()) return there;
    const bool reading = std::any_of(
        there->databases().begin(), there->databases().end(),
        [](const auto& database) { return database.status().phase() == v1::SourceStatus::PHASE_SCANNING; });
    if (!reading) return there;
    poll.until(steady_clock::now() + reading_poll, [] { return false; });
  }
}

// Both sides were written when the primary's image is not the one that the takeover froze. Asked before
// anything is sent, so that a failback without a choice changes nothing there; the agent asks again before it
// puts an image in place.
absl::Status step_runner::check_divergence(const step_context& context) {
  if (context.choice != policy::diverged_choice::none) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::DescribeResponse there, describe_when_read());
  const made_databases made = find_made(layout_, spec_, there.database_patterns());
  const auto made_here = [&](const v1::DatabaseDescription& database) {
    const auto same = [&](const auto& one) { return one.path() == database.path(); };
    // One that people named, and that had no copy, is the primary's.
    const auto found = [&](const v1::DatabaseSpec& one) { return same(one) && one.found(); };
    return std::any_of(made.bring.begin(), made.bring.end(), same) ||
           (std::any_of(spec_.databases().begin(), spec_.databases().end(), found) &&
            std::filesystem::exists(layout_.place_of(database.path())));
  };
  std::string diverged;
  for (const auto& database : there.databases()) {
    const auto frozen = std::find_if(frozen_.begin(), frozen_.end(),
                                     [&](const auto& row) { return row.catalog == database.catalog(); });
    if (database.status().phase() != v1::SourceStatus::PHASE_READY) continue;
    const auto& image = database.status().image();
    // What both sides made without the other has no image in common.
    if (frozen == frozen_.end() && !made_here(database)) continue;
    if (frozen != frozen_.end() && image.hash().high() == frozen->hash.high &&
        image.hash().low() == frozen->hash.low)
      continue;
    // An earlier failback put it there, and was given up.
    const bool adopted =
        std::any_of(database.adopted().begin(), database.adopted().end(), [&](const auto& one) {
          return one.hash().high() == image.hash().high() && one.hash().low() == image.hash().low();
        });
    if (adopted) continue;
    diverged += (diverged.empty() ? "" : ", ") + database.catalog();
  }
  if (diverged.empty()) return absl::OkStatus();
  return rpc::with_reason(
      absl::FailedPreconditionError(fmt::format(
          "the primary holds commits that this host never had ({}): choose with --discard-primary "
          "(the stand-in's data wins) or "
          "--keep-primary (the primary's wins); the loser is set aside",
          diverged)),
      diverged_reason);
}

// The agent answers, now. A step that needs it is begun again right after a restart, or after the address
// moved, and the line is up a moment later; and a line that the primary's power cut left counts as connected
// for a while, but answers nothing.
absl::Status step_runner::await_agent() {
  const auto deadline = steady_clock::now() + reconnect_timeout;
  timed_wait poll;
  for (;;) {
    if (cancelled()) return absl::CancelledError("cancelled");
    const absl::Status answered = parts_.agent.exchange({}, prompt_answer).status();
    if (!absl::IsUnavailable(answered) && !absl::IsDeadlineExceeded(answered)) return absl::OkStatus();
    if (steady_clock::now() >= deadline) return answered;
    if (absl::IsDeadlineExceeded(answered)) parts_.agent.renew();
    poll.until(steady_clock::now() + check_poll, [] { return false; });
  }
}

absl::Status step_runner::reverse_heal(const step_context& context) {
  UNDERSTUDY_RETURN_IF_ERROR(await_agent());
  UNDERSTUDY_RETURN_IF_ERROR(parts_.agent.exchange(fence_request(context), stop_primary_timeout).status());
  // Met in Conflict it still stops. Its addresses are this host's, whatever it says about them.
  UNDERSTUDY_RETURN_IF_ERROR(await_primary_down(stop_primary_timeout, false));
  UNDERSTUDY_RETURN_IF_ERROR(check_divergence(context));
  UNDERSTUDY_RETURN_IF_ERROR(open_way_back(context));
  // Of files one knows only when they have been compared; on the primary nothing has changed yet.
  return context.choice == policy::diverged_choice::none ? way_back_->check_files() : absl::OkStatus();
}

absl::Status step_runner::open_way_back(const step_context& context) {
  // A copy that this host holds open has a log that only it can read; nobody writes now.
  if (!stand_in_.up()) UNDERSTUDY_RETURN_IF_ERROR(copies_.release_to_stand_in());
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::DescribeResponse there, parts_.agent.describe(describe_timeout));
  patterns_ = there.database_patterns();
  left_there_ = never_copied(spec_, frozen_);
  for (const auto& database : spec_.databases()) {
    const auto same = [&](const auto& one) {
      return one.catalog() == database.catalog() && one.status().phase() != v1::SourceStatus::PHASE_ABSENT;
    };
    const bool has = std::any_of(there.databases().begin(), there.databases().end(), same);
    if (!has && has_content(layout_.place_of(database.path()))) left_there_->erase(database.catalog());
  }
  auto back = std::make_unique<restoration>(parts_.capture, layout_, spec_, on_.changed);
  UNDERSTUDY_RETURN_IF_ERROR(
      back->begin(parts_.agent.channel(), context.epoch, find_made(layout_, spec_, patterns_), *left_there_));
  {
    std::lock_guard lock(way_back_mutex_);
    way_back_ = std::move(back);
  }
  return await_way_back();
}

// In slices, so that a cancelled failback does not wait for the heal.
absl::Status step_runner::await_way_back() {
  const auto deadline = steady_clock::now() + reverse_heal_timeout;
  for (;;) {
    absl::Status status = way_back_->wait_in_step(milliseconds{500});
    if (!absl::IsDeadlineExceeded(status) || steady_clock::now() >= deadline) return status;
    way_back_->leave_unreadable();
    if (cancelled()) return absl::CancelledError("cancelled");
  }
}

// The streams do not survive a restart of the daemon: they are opened again, which begins with a comparison.
absl::Status step_runner::drain(const step_context& context) {
  if (!way_back_) {
    UNDERSTUDY_RETURN_IF_ERROR(await_agent());
    UNDERSTUDY_RETURN_IF_ERROR(open_way_back(context));
  } else {
    // What the stand-in made and deleted while it was healed.
    way_back_->leave_unreadable();
    way_back_->follow(find_made(layout_, spec_, patterns_));
    UNDERSTUDY_RETURN_IF_ERROR(await_way_back());
  }
  return way_back_->drain(drain_timeout);
}

absl::Status step_runner::set_aside(const step_context& context, step_outcome& outcome) {
  if (context.choice == policy::diverged_choice::keep_primary) {
    UNDERSTUDY_RETURN_IF_ERROR(check_primary_whole(context));
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string directory, copies_.set_copy_aside());
    outcome.note =
        fmt::format("the primary's data wins; what the stand-in wrote is set aside here, at {}", directory);
    return absl::OkStatus();
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::vector<std::string> directories, adopt(context));
  const auto note = [&](const std::string& text) {
    outcome.note += (outcome.note.empty() ? "" : "; ") + text;
  };
  for (const auto& directory : directories) note("what the primary held is set aside there, at " + directory);
  for (const auto& remark : way_back_->remarks(frozen_)) note(remark);
  drop_way_back();
  return absl::OkStatus();
}

// What the stand-in made of a database that it had no copy of, and that the primary keeps. Nobody needs it
// here any more, and the copy is made in its place.
absl::Status step_runner::set_aside_what_had_no_copy(const step_context& context) {
  const std::set<std::string> left = left_there_ ? *left_there_ : never_copied(spec_, frozen_);
  if (left.empty()) return absl::OkStatus();
  return copies_.set_aside(left, fmt::format("stand-in-{}", context.epoch));
}

absl::StatusOr<std::vector<std::string>> step_runner::adopt(const step_context& context) {
  for (int attempt = 1;; ++attempt) {
    // With no stand-in there was nothing to stop, and so no drain of its own; after a restart no stream
    // either.
    if (!way_back_ || !way_back_->drained()) UNDERSTUDY_RETURN_IF_ERROR(drain(context));
    auto directories = way_back_->adopt(frozen_, to_proto(context.choice), [this] { return cancelled(); });
    const bool not_what_was_sent =
        absl::IsDataLoss(directories.status()) || rpc::reason_of(directories.status()) == "NOT_DRAINED";
    if (!not_what_was_sent || attempt == adopt_attempts || cancelled()) return directories;
    log::info(spec_.name(), "sent once more: {}", message_of(directories.status()));
    drop_way_back();
  }
}

void step_runner::drop_way_back() {
  // Its end waits for threads, and the mutex is taken by who only asks how far it is.
  std::unique_ptr<restoration> former;
  std::lock_guard lock(way_back_mutex_);
  former = std::move(way_back_);
}

// A failback that is given up leaves no stream behind: the next one begins with a comparison again.
void step_runner::drop_way_back_of(policy::step_id which) {
  if (which != step_id::reverse_heal && which != step_id::stop_stand_in && which != step_id::drain &&
      which != step_id::set_aside)
    return;
  drop_way_back();
}

void step_runner::adopt_running(bool addresses_held, std::vector<store::freeze_row> frozen) {
  frozen_ = std::move(frozen);
  if (absl::Status opened = stand_in_.open(); !opened.ok()) {
    log::error(spec_.name(), "the stand-in's processes cannot be found again: {}", message_of(opened));
  }
  if (!addresses_held) return;
  if (absl::Status added = add_addresses(); !added.ok()) {
    log::error(spec_.name(), "the addresses cannot be held again: {}", message_of(added));
  }
  addresses_.announce();
}

restoration_progress step_runner::way_back() const {
  std::lock_guard lock(way_back_mutex_);
  return way_back_ ? way_back_->progress() : restoration_progress{};
}

}  // namespace understudy::server
