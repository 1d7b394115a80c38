#include "agent-failover/actors/primary_supervisor.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <caf/actor_system.hpp>

#include <utility>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/actors/journal.hpp"
#include "agent-failover/actors/supervisor.hpp"
#include "agent-failover/api/board.hpp"
#include "agent-failover/link/local_address.hpp"
#include "agent-failover/policy/codec.hpp"
#include "agent-failover/policy/status.hpp"
#include "agent-failover/server/copied_databases.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/spec_check.hpp"
#include "common/log/log.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/status/status_text.hpp"

namespace understudy::actors {
namespace {

using google::protobuf::util::TimeUtil;
using policy::action_kind;
using policy::event_kind;
using policy::phase;
using policy::step_id;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr seconds conflict_again_after{10};
constexpr seconds retry_after{10};    // schedule_retry: a blocked takeover looks again
constexpr seconds settle_after{300};  // a server handed back by itself is flapping when it fails again sooner
constexpr int code_cancelled = 1;     // google.rpc.Code
constexpr std::size_t queue_limit = 256;  // events; more misses than any takeover count but a patient one's
constexpr std::uint32_t probe_ahead_misses =
    5;  // before a takeover its addresses are probed: with the default interval, longer than RFC 5227 needs

using self_pointer = supervisor_actor::stateful_pointer<class supervisor>;

// In this state the addresses are adopted: from add_address on, until they are released.
bool holds(const policy::primary_state& machine) {
  switch (machine.at) {
    case phase::standing_in:
    case phase::conflict:
      return true;
    case phase::taking_over:
      return machine.doing >= step_id::start_application && machine.doing <= step_id::post_hook;
    case phase::standing_down:
      return machine.doing == step_id::stop_application || machine.doing == step_id::fold_copy;
    case phase::failing_back:
      return machine.serving && machine.doing >= step_id::reverse_heal && machine.doing <= step_id::hand_over;
    default:
      return false;
  }
}

}  // namespace

supervisor::~supervisor() {
  if (runner_) runner_->cancel(step_serial_);
  if (link_) link_->close();
}

void supervisor::start(supervisor_actor::pointer self, const supervisor_surroundings& around,
                       const v1::ServerSpec& spec, const v1::Settings& settings,
                       supervisor_beginning beginning) {
  self_ = self;
  around_ = std::make_unique<supervisor_surroundings>(around);
  spec_ = spec;
  settings_ = settings;
  machine_ = std::move(beginning.machine);
  news_ = agent_news(beginning.agent_boot, beginning.told);
  boot_recorded_ = std::move(beginning.agent_boot);
  if (!spec_.daily().empty()) {
    if (auto schedule = server::daily_schedule::parse(spec_.daily()); schedule.ok()) {
      daily_schedule_ = *schedule;
    } else {
      log::error(spec_.name(), "no daily replication: {}", message_of(schedule.status()));
    }
  }
  since_ = beginning.since;
  operations_ = std::make_unique<operation_tracker>(around_->board, spec_.name());
  worker_ = std::make_unique<server::worker>(spec_.name());
  line_worker_ = std::make_unique<server::worker>(spec_.name());

  std::string own_address = around_->host_address;
  if (own_address.starts_with(':')) {
    auto local = link::local_address_towards(spec_.address());
    own_address = local.ok() ? link::agent_target(*local, std::stoul(own_address.substr(1))) : "";
  }
  link_ = link::agent_connection::open(
      link::agent_target(spec_.address(), spec_.port()),
      {.server = spec_.name(), .host_address = own_address},
      {.up =
           [post = poster<atom::line_atom, link_report>()] {
             post(atom::line_v, {.what = link_report::kind::up});
           },
       .down =
           [post = poster<atom::line_atom, link_report>()](const std::string& reason) {
             post(atom::line_v, {.what = link_report::kind::down, .reason = reason});
           },
       .state =
           [post = poster<atom::line_atom, link_report>()](const v1::HoldLeaseResponse& state) {
             post(atom::line_v, {.what = link_report::kind::state, .state = state});
           }});
  runner_ = std::make_shared<server::step_runner>(
      server::step_runner::parts{.fs = around_->fs,
                                 .capture = around_->capture,
                                 .agent = *link_,
                                 .past = around_->past,
                                 .feeds = around_->feeds,
                                 .data_dir = around_->data_dir,
                                 .host_name = around_->host_name},
      spec_, settings_,
      server::step_runner::callbacks{
          // At most one of them waits: streams report many times a second.
          .changed =
              [post = poster<atom::changed_atom>(), waits = changed_waits_] {
                if (!waits->exchange(true)) post(atom::changed_v);
              },
          .conflict =
              [post = poster<atom::conflict_atom, std::string, std::string>()](
                  const std::string& address, const network::address_conflict& conflict) {
                post(atom::conflict_v, address, network::to_string(conflict.mac));
              },
          .own_address_held = [post = poster<atom::own_address_atom, bool>()](
                                  bool held) { post(atom::own_address_v, held); }});

  const auto address = network::parse_ip_address(spec_.address());
  const v1::PingSettings ping = server::effective_ping(spec_, settings_);
  if (address.ok()) {
    absl::Status added =
        around_->prober.add(spec_.name(), *address,
                            {.interval = milliseconds(TimeUtil::DurationToMilliseconds(ping.interval())),
                             .timeout = milliseconds(TimeUtil::DurationToMilliseconds(ping.timeout()))});
    if (!added.ok()) log::error(spec_.name(), "cannot be pinged: {}", message_of(added));
  }
  self_->send(around_->health, atom::request_v, spec_.name(), supervisor_actor(self_));

  const bool right_is_ours = machine_.owner == policy::right_owner::failover_host;
  const bool holds_addresses = !beginning.host_rebooted && holds(machine_);
  worker_->post([runner = runner_, right_is_ours, holds_addresses, rebooted = beginning.host_rebooted,
                 frozen = std::move(beginning.frozen), server = spec_.name(),
                 settings = settings_]() mutable {
    runner->keep_history(settings);
    runner->adopt_running(holds_addresses, std::move(frozen));
    // With the right here, a stand-in that runs has the database, whatever the boot id says.
    if (!right_is_ours || (rebooted && !runner->stand_in_is_up())) {
      if (absl::Status opened = runner->open(); !opened.ok()) {
        log::error(server, "its copy cannot be opened: {}", message_of(opened));
      }
    }
  });
  machine_.configured = options_of(spec_, settings_);
  // What a stand-in would not find is no copy: shown as such, not taken over, and copied now.
  if (machine_.replication.has_copy && !right_is_ours && machine_.doing == step_id::none) {
    const server::copy_layout layout(around_->data_dir, spec_);
    const server::missing_copies missing = server::missing_copies_of(around_->fs, layout, spec_);
    // Streams bring what is missing by themselves, once the rest counts as a copy.
    daily_wanted_ = !missing.lost.empty() || (at_rest() && !missing.first.empty());
    if (!missing.lost.empty()) {
      machine_.replication = {};
      record(policy::notice::replication_failed,
             fmt::format("there is no copy of {}: the server is unprotected until it is made",
                         fmt::join(missing.lost, ", ")));
    } else if (!missing.first.empty()) {
      record(policy::notice::state,
             fmt::format("{} is copied for the first time: until then a takeover goes without it, with "
                         "everything else",
                         fmt::join(missing.first, ", ")));
    }
  }
  happen(policy::happened(beginning.host_rebooted ? event_kind::host_rebooted : event_kind::restarted));
  watch_pings();
  self_->delayed_send(supervisor_actor(self_), seconds{1}, atom::second_v);
}

// -- what happened
// ---------------------------------------------------------------------------------------------------

void supervisor::on_sample(const network::probe_sample& sample) {
  self_->send(around_->health, atom::sample_v, sample);
  switch (sample.outcome) {
    case network::probe_outcome::reply:
      round_trip_ = sample.rtt;
      // Nothing to tell a machine that is content, unless something is still to be decided before this reply.
      if (machine_.missed != 0 || machine_.after_reboot || machine_.start_owed ||
          machine_.at != phase::monitoring || committing_ || !queue_.empty()) {
        happen(policy::happened(event_kind::probe_ok));
      }
      break;
    case network::probe_outcome::timeout:
    case network::probe_outcome::send_failed:
      happen(policy::happened(event_kind::probe_failed));
      break;
    case network::probe_outcome::host_was_late:
      break;  // says nothing about the primary
  }
  const std::uint32_t due = policy::takeover_threshold(machine_);
  const bool ahead = machine_.missed > 0 && machine_.missed + std::min(probe_ahead_misses, due - 1) >= due;
  if (ahead && !probing_ahead_ && spec_.assume_ip() && !own_address_) {
    probing_ahead_ = true;
    const auto interval =
        TimeUtil::DurationToMilliseconds(server::effective_ping(spec_, settings_).interval());
    const milliseconds left{interval * std::min(probe_ahead_misses, due - 1)};
    worker_->post([runner = runner_, left] { runner->probe_ahead(left); });
  }
  if (machine_.missed == 0) probing_ahead_ = false;
}

void supervisor::on_step(const step_report& report) {
  if (report.serial != step_serial_) return;  // cancelled meanwhile
  enqueue({.event = report.outcome.event,
           .frozen = report.outcome.frozen,
           .note = report.outcome.note,
           .command = nullptr});
}

void supervisor::on_slot(const slot_report& report) {
  if (report.serial != slot_serial_) return;  // decided before the arbiter knew of our last request
  policy::event event = policy::happened(report.granted ? event_kind::slot_granted : event_kind::slot_denied);
  event.position = report.position;
  if (!report.granted) event.reason = fmt::format("this host stands in for {}", report.holder);
  happen(std::move(event));
}

void supervisor::on_health(const network::health_verdict& verdict) {
  happen(policy::happened(verdict.healthy() ? event_kind::host_sees : event_kind::host_blind, verdict.text));
}

void supervisor::on_conflict(const std::string& address, const std::string& mac) {
  // Two holders of one address see each other many times a second.
  const auto now = steady_clock::now();
  if (now < conflict_told_ + conflict_again_after) return;
  conflict_told_ = now;
  happen(policy::happened(event_kind::conflict, fmt::format("{} is also used by {}", address, mac)));
}

void supervisor::on_settings(const v1::Settings& settings) {
  settings_ = settings;
  worker_->post([runner = runner_, settings] { runner->keep_history(settings); });
  policy::event event = policy::happened(event_kind::settings_changed);
  event.configured = options_of(spec_, settings_);
  happen(std::move(event));
  const auto address = network::parse_ip_address(spec_.address());
  const v1::PingSettings ping = server::effective_ping(spec_, settings_);
  if (address.ok()) {
    absl::Status updated =
        around_->prober.update(spec_.name(), *address,
                               {.interval = milliseconds(TimeUtil::DurationToMilliseconds(ping.interval())),
                                .timeout = milliseconds(TimeUtil::DurationToMilliseconds(ping.timeout()))});
    if (!updated.ok())
      log::warning(spec_.name(), "the new ping values are not used: {}", message_of(updated));
  }
}

void supervisor::on_changed() {
  changed_waits_->store(false);  // before the look
  follow_copy();
  if (machine_.at == phase::failing_back) {
    const server::restoration_progress back = runner_->way_back();
    if (!back.phase.empty())
      operations_->progress(policy::name_of(machine_) + " " + back.phase, back.bytes_done, back.bytes_total);
  }
  publish();
}

void supervisor::on_second() {
  if (shutting_down_) return;
  self_->delayed_send(supervisor_actor(self_), seconds{1}, atom::second_v);
  const auto now_ms =
      std::chrono::duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  if (machine_.until_ms > 0 && now_ms >= machine_.until_ms)
    happen(policy::happened(event_kind::until_expired));
  daily();
  pump();
  follow_adoption();
  keep_streams();
  follow_copy();
  follow_agent();
  compare_application_versions();
  publish();
}

void supervisor::on_shutdown() {
  shutting_down_ = true;
  around_->prober.remove(spec_.name());
  self_->send(around_->health, atom::forget_v, spec_.name());
  runner_->cancel(step_serial_);
  link_->close();
  // The worker ends its running job; the streams end with the runner.
  worker_.reset();
  line_worker_.reset();
  runner_->copies().stop();
  link_.reset();
  self_->quit();
}

// -- deciding
// --------------------------------------------------------------------------------------------------------

// What feeds the copy runs in these: files and databases both.
bool supervisor::watching() const {
  return machine_.at == phase::monitoring || machine_.at == phase::suspect || machine_.at == phase::warned ||
         machine_.at == phase::blind;
}

void supervisor::enqueue(pending one) {
  // The queue grows only while nothing can be recorded, and what repeats itself must not fill it meanwhile: a
  // reply ends whatever series of misses still waits before it, and of a state that is reported again the
  // newest report counts.
  const event_kind kind = one.event.kind;
  const auto drop = [&](auto superseded) {
    std::erase_if(queue_, [&](const pending& other) { return superseded(other.event.kind); });
  };
  if (kind == event_kind::probe_ok)
    drop([](event_kind k) { return k == event_kind::probe_ok || k == event_kind::probe_failed; });
  if (kind == event_kind::replication_changed || kind == event_kind::until_expired)
    drop([&](event_kind k) { return k == kind; });
  if (kind == event_kind::probe_failed && queue_.size() >= queue_limit) return;  // misses enough
  queue_.push_back(std::move(one));
  pump();
}

void supervisor::pump() {
  while (!committing_ && !queue_.empty()) {
    pending next = std::move(queue_.front());
    queue_.pop_front();
    decide(std::move(next));
  }
}

void supervisor::decide(pending one) {
  policy::result result = policy::step(machine_, one.event);
  if (result.by == nullptr) {
    if (one.command) {
      one.command->answer(
          {.status = absl::FailedPreconditionError(
               result.refusal.empty() ? fmt::format("{} is {}", spec_.name(), policy::name_of(machine_))
                                      : result.refusal),
           .effect = {},
           .operation = {}});
    }
    return;
  }
  if (one.command && one.command->command.dry_run) {
    one.command->answer(
        {.status = {}, .effect = effect_of(one.command->command, spec_, machine_), .operation = {}});
    return;
  }
  auto changes = std::make_shared<store::changes>(changes_for(result, one));
  const bool durable = policy::must_persist(machine_, result.state) || !changes->events.empty() ||
                       !changes->intents.empty() || !changes->freezes.empty();
  if (!durable) return apply(std::move(result), one);
  committing_ = true;
  make_durable(std::move(changes), std::move(result), std::move(one));
}

store::changes supervisor::changes_for(const policy::result& result, const pending& one) {
  store::changes changes;
  const bool shown_changed = policy::status_of(machine_) != policy::status_of(result.state);
  changes.machines.push_back({.server = spec_.name(),
                              .state = policy::encode(result.state),
                              .since = shown_changed ? system_clock::now() : since_});
  if (one.event.kind == event_kind::step_done || one.event.kind == event_kind::step_failed) {
    changes.intents.push_back({.server = spec_.name(),
                               .epoch = machine_.epoch,
                               .step = policy::name_of(machine_),
                               .ended = true,
                               .outcome = one.event.kind == event_kind::step_done ? "ok" : one.event.reason});
  }
  for (const auto& action : result.actions) {
    if (action.kind == action_kind::start_step) {
      changes.intents.push_back({.server = spec_.name(),
                                 .epoch = result.state.epoch,
                                 .step = policy::name_of(result.state),
                                 .ended = false,
                                 .outcome = {}});
    }
    if (action.kind == action_kind::raise) changes.events.push_back(make_event(action, one));
  }
  // What a step found out is kept even where the decision itself is not worth an event.
  if (!one.note.empty() && changes.events.empty()) {
    changes.events.push_back(
        make_event({.kind = action_kind::raise, .what = policy::notice::state, .text = one.note}, {}));
  }
  changes.freezes = one.frozen;
  // With the event that it raised, so that it is told once.
  if (one.event.kind == event_kind::agent_reset)
    changes.agent_boots.push_back({.server = spec_.name(), .boot_id = news_.boot_id()});
  return changes;
}

v1::Event supervisor::make_event(const policy::action& action, const pending& one) const {
  v1::Event event;
  *event.mutable_at() = rpc::timestamp_now();
  event.set_server(spec_.name());
  event.set_kind(policy::to_string(action.what));
  const bool bad =
      action.what == policy::notice::failure || action.what == policy::notice::takeover_blocked ||
      action.what == policy::notice::second_failure || action.what == policy::notice::conflict ||
      action.what == policy::notice::failback_failed || action.what == policy::notice::database_damaged;
  event.set_severity(bad                           ? v1::EVENT_SEVERITY_ERROR
                     : policy::mailed(action.what) ? v1::EVENT_SEVERITY_WARNING
                                                   : v1::EVENT_SEVERITY_INFO);
  std::string text = action.text;
  if (action.what == policy::notice::takeover) {
    const auto last = runner_->copies().last_durable_commit();
    if (last.time_since_epoch().count() > 0) {
      text += fmt::format("; the last durable commit was seen at {}",
                          TimeUtil::ToString(TimeUtil::MillisecondsToTimestamp(
                              std::chrono::duration_cast<milliseconds>(last.time_since_epoch()).count())));
    }
  }
  if (!one.note.empty()) text += "; " + one.note;
  event.set_text(text);
  event.set_actor(one.event.by.empty() ? "automatic" : one.event.by);
  return event;
}

void supervisor::make_durable(changes_ptr changes, policy::result result, pending one) {
  self_->request(around_->journal, journal_timeout, atom::commit_v, changes)
      .then(
          [this, result, one](const changes_ptr&) mutable {
            committing_ = false;
            apply(std::move(result), one);
            pump();
          },
          // Nothing is done that could not be recorded: the decision is made again, on what is true then.
          [this, one](const caf::error&) mutable {
            committing_ = false;
            if (one.command) {
              // A command is not carried out behind the back of an operator who was told that it failed.
              one.command->answer({.status = absl::UnavailableError(
                                       "state.db cannot be written, so nothing was done; see the log"),
                                   .effect = {},
                                   .operation = {}});
              return;
            }
            log::error(spec_.name(), "a decision could not be recorded and is made again");
            queue_.push_front(std::move(one));
          });
}

void supervisor::apply(policy::result result, const pending& one) {
  const policy::primary_state before = std::exchange(machine_, std::move(result.state));
  if (policy::status_of(before) != policy::status_of(machine_)) since_ = system_clock::now();
  if (one.event.kind == event_kind::agent_reset) boot_recorded_ = news_.boot_id();
  // What a silent primary said before it lost the right proves nothing about now.
  if (before.owner != machine_.owner) agent_news_fresh_ = false;
  if (before.at != machine_.at) {
    log::info(spec_.name(), "{} -> {}{}{}", policy::name_of(before), policy::name_of(machine_),
              result.by->comment[0] != '\0' ? ": " : "", result.by->comment);
  }
  if (one.command) {
    const v1::OperationKind kind = operation_of(one.command->command.what);
    std::string operation;
    if (kind != v1::OPERATION_KIND_UNSPECIFIED)
      operation = operations_->begin(kind, one.command->command.actor);
    one.command->answer({.status = {},
                         .effect = effect_of(one.command->command, spec_, before),
                         .operation = std::move(operation)});
  }
  const bool may_copy = machine_.owner == policy::right_owner::primary && machine_.at != phase::stopped;
  if (copy_running_ && !may_copy) {
    copy_running_ = false;
    if (std::exchange(reading_, false)) runner_->copies().caretaker().cancel();
    if (operations_->kind() == v1::OPERATION_KIND_REPLICATE_FROM_LIVE)
      operations_->fail(code_cancelled, fmt::format("{} is {}", spec_.name(), policy::name_of(machine_)));
  }
  if (verifying_ && !watching())
    drop_verify(code_cancelled, fmt::format("{} is {}", spec_.name(), policy::name_of(machine_)));
  operations_->follow(before, machine_);
  for (const auto& action : result.actions) perform(action);
  if (before.at != machine_.at) watch_pings();
  follow_agent();
  publish();
}

void supervisor::perform(const policy::action& action) {
  const bool databases = action.part != policy::sync_part::files;
  const bool files = action.part != policy::sync_part::databases;
  switch (action.kind) {
    case action_kind::start_step:
      begin_step(action.which);
      break;
    case action_kind::cancel_step:
      runner_->cancel(step_serial_++);  // its answer, if it still comes, is not wanted
      break;
    case action_kind::request_slot:
      self_->send(around_->arbiter, atom::request_v, spec_.name(), supervisor_actor(self_), ++slot_serial_);
      break;
    case action_kind::release_slot:
      self_->send(around_->arbiter, atom::release_v, spec_.name());
      break;
    case action_kind::record_claim:
    case action_kind::withdraw_claim:
      break;  // leased modes only, which AddServer refuses
    case action_kind::start_sync:
      databases_wanted_ |= databases;
      files_wanted_ |= files;
      keep_streams();
      break;
    case action_kind::stop_sync:
      if (databases) databases_wanted_ = false;
      if (files) files_wanted_ = false;
      keep_streams();
      break;
    case action_kind::start_copy:
      copy_running_ = true;
      copy_begun_ = system_clock::now();
      copy_last_alive_ = steady_clock::now();
      // Hot: what is there is read again, on both sides, and then compared. Warm: the new generation is.
      machine_.replication.has_copy && !at_rest() ? read_again() : compare_anew();
      happen(policy::happened(event_kind::copy_started));
      keep_streams();
      break;
    case action_kind::raise:
      if (policy::mailed(action.what)) {
        log::warning(spec_.name(), "{}: {}", policy::to_string(action.what), action.text);
      } else {
        log::info(spec_.name(), "{}: {}", policy::to_string(action.what), action.text);
      }
      break;
    case action_kind::schedule_retry:
      self_->delayed_send(supervisor_actor(self_), retry_after, atom::happened_v,
                          policy::happened(event_kind::retry));
      break;
    case action_kind::start_settle_timer:
      self_->delayed_send(supervisor_actor(self_), settle_after, atom::happened_v,
                          policy::happened(event_kind::settled));
      break;
  }
}

void supervisor::begin_step(step_id which) {
  const server::step_context context{.serial = ++step_serial_,
                                     .which = which,
                                     .epoch = machine_.epoch,
                                     .why = machine_.why_acting,
                                     .choice = machine_.choice,
                                     .copy_newest = machine_.copy_newest};
  operations_->progress(policy::name_of(machine_), 0, 0);
  worker_->post([runner = runner_, context, post = poster<atom::step_end_atom, step_report>()] {
    post(atom::step_end_v, {.serial = context.serial, .outcome = runner->run(context)});
  });
}

namespace {

supervisor_actor::behavior_type behavior(self_pointer self, const supervisor_surroundings* around,
                                         const v1::ServerSpec& spec, const v1::Settings& settings,
                                         supervisor_beginning beginning) {
  self->state.start(self, *around, spec, settings, std::move(beginning));
  return {
      [self](atom::sample_atom, const network::probe_sample& sample) { self->state.on_sample(sample); },
      [self](atom::line_atom, const link_report& report) { self->state.on_line(report); },
      [self](atom::step_end_atom, const step_report& report) { self->state.on_step(report); },
      [self](atom::slot_atom, const slot_report& report) { self->state.on_slot(report); },
      [self](atom::health_atom, const network::health_verdict& verdict) { self->state.on_health(verdict); },
      [self](atom::conflict_atom, const std::string& address, const std::string& mac) {
        self->state.on_conflict(address, mac);
      },
      [self](atom::happened_atom, const policy::event& event) { self->state.happen(event); },
      [self](atom::command_atom, const std::shared_ptr<command_envelope>& envelope) {
        self->state.on_command(envelope);
      },
      [self](atom::program_atom, const std::shared_ptr<application_envelope>& envelope) {
        self->state.on_application(envelope);
      },
      [self](atom::changed_atom) { self->state.on_changed(); },
      [self](atom::second_atom) { self->state.on_second(); },
      [self](atom::settings_atom, const v1::Settings& settings_now) {
        self->state.on_settings(settings_now);
      },
      [self](atom::adopted_atom, const v1::ServerSpec& spec_now) { self->state.on_adopted(spec_now); },
      [self](atom::own_address_atom, bool held) { self->state.on_own_address(held); },
      [self](atom::shutdown_atom) { self->state.on_shutdown(); },
  };
}

}  // namespace

supervisor_actor spawn_primary_supervisor(caf::actor_system& system,
                                          const supervisor_surroundings& surroundings,
                                          const v1::ServerSpec& spec, const v1::Settings& settings,
                                          supervisor_beginning beginning) {
  return system.spawn(behavior, &surroundings, spec, settings, std::move(beginning));
}

}  // namespace understudy::actors
