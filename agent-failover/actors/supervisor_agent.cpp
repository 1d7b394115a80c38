#include <fmt/core.h>

#include "agent-failover/actors/journal.hpp"
#include "agent-failover/actors/supervisor.hpp"
#include "agent-failover/network/prober.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::actors {
namespace {

using policy::phase;
using policy::step_id;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds fence_timeout{60'000};  // its applications stop one after the other
constexpr seconds tell_again_after{10};
constexpr milliseconds describe_timeout{5'000};
constexpr seconds versions_again_after{900};  // applications are upgraded while everything runs
constexpr seconds versions_soon_after{10};    // an agent that has just started is still asking

}  // namespace

void supervisor::on_line(const link_report& report) {
  switch (report.what) {
    case link_report::kind::up:
      connected_ = true;
      agent_trouble_.clear();
      copy_last_alive_ = steady_clock::now();
      log::info(spec_.name(), "the agent is connected");
      news_.connected();
      versions_due_ = {};
      ask_for_description();
      break;
    case link_report::kind::down:
      connected_ = false;
      agent_trouble_ = report.reason;
      log::warning(spec_.name(), "the agent's connection is lost: {}", report.reason);
      break;
    case link_report::kind::described:
      if (report.reason.empty()) {
        news_.described(report.description);
        adopt_databases();
      } else {
        news_.not_described();
      }
      break;
    case link_report::kind::versions:
      on_versions(report);
      break;
    case link_report::kind::told:
      telling_ = false;
      if (!report.reason.empty()) {
        log::warning(spec_.name(), "the agent could not be told who may run: {}", report.reason);
        tell_not_before_ = steady_clock::now() + tell_again_after;
        break;
      }
      [[fallthrough]];
    case link_report::kind::state:
      agent_ = report.state;
      agent_news_fresh_ = true;
      if (news_.databases_changed(*agent_)) ask_for_description();
      for (const std::string& text : news_.damage(*agent_)) record(policy::notice::database_damaged, text);
      self_->send(around_->health, atom::line_v);
      if (auto verdict = compare_versions(UNDERSTUDY_VERSION, agent_->version());
          verdict.text != versions_.text) {
        versions_ = verdict;
        if (!verdict.text.empty()) log::warning(spec_.name(), "{}", verdict.text);
      }
      follow_agent();
      break;
  }
  keep_streams();
  follow_copy();
  publish();
}

void supervisor::ask_for_description() {
  line_worker_->post([link = link_, post = poster<atom::line_atom, link_report>()] {
    link_report report{.what = link_report::kind::described};
    if (auto description = link->describe(describe_timeout); description.ok()) {
      report.description = *std::move(description);
    } else {
      report.reason = std::string(message_of(description.status()));
    }
    post(atom::line_v, std::move(report));
  });
}

// Neither a step nor a new generation is at work on the copies.
bool supervisor::may_adopt() const {
  return machine_.owner == policy::right_owner::primary && machine_.doing == step_id::none && !committing_ &&
         !shutting_down_ && !(copy_running_ && at_rest());
}

// The server's specification is the root's to change; on_adopted() hears of it.
void supervisor::adopt_databases() {
  if (!around_->adopt || !connected_ || machine_.at != phase::monitoring || !may_adopt() || adopted_ ||
      steady_clock::now() < adopt_not_before_)
    return;
  const found_databases found = news_.found(spec_, runner_->copies().without_copy());
  if (news_.is_new(found.left_out)) record(policy::notice::databases_left_out, found.left_out);
  if (found.empty()) return;
  adopt_not_before_ = steady_clock::now() + tell_again_after;
  around_->adopt(spec_.name(), found);
}

void supervisor::on_adopted(const v1::ServerSpec& spec) {
  adopted_ = spec;
  adopt_not_before_ = {};
  follow_adoption();
}

// In state.db it is so already: a supervisor that begins now has it from there.
void supervisor::follow_adoption() {
  if (!adopted_ || !may_adopt()) return;
  spec_ = *std::exchange(adopted_, std::nullopt);
  worker_->post([runner = runner_, spec = spec_] { runner->adopt(spec); });
  keep_streams();
  publish();
}

// With one shared address, pings and dialling would reach this host itself while it holds it.
void supervisor::on_own_address(bool held) {
  if (own_address_ == held) return;
  own_address_ = held;
  watch_pings();
  std::string target = link::agent_target(spec_.address(), spec_.port());
  if (held) target = news_.link_local_target(settings_, spec_);
  if (!target.empty()) link_->redirect(target);
}

void supervisor::follow_agent() {
  if (!connected_ || !agent_ || !agent_news_fresh_ || shutting_down_) return;
  for (policy::event& event : news_.events(*agent_, machine_)) happen(std::move(event));
  record_boot();
  tell_agent();
  adopt_databases();
}

// What is reported for the first time is no news, but must be known to the next life of this daemon. Another
// boot is recorded with its event.
void supervisor::record_boot() {
  if (!boot_recorded_.empty() || news_.boot_id().empty() || recording_boot_) return;
  recording_boot_ = true;
  auto changes = std::make_shared<store::changes>();
  changes->agent_boots.push_back({.server = spec_.name(), .boot_id = news_.boot_id()});
  self_->request(around_->journal, journal_timeout, atom::commit_v, changes_ptr(changes))
      .then(
          [this](const changes_ptr& recorded) {
            recording_boot_ = false;
            if (boot_recorded_.empty()) boot_recorded_ = recorded->agent_boots.front().boot_id;
          },
          [this](const caf::error&) { recording_boot_ = false; });
}

// Version commands may be slow, so they run beside everything else. Only while the primary serves: what a
// takeover needs to know was found out before it.
void supervisor::compare_application_versions() {
  if (!connected_ || machine_.owner != policy::right_owner::primary || steady_clock::now() < versions_due_)
    return;
  versions_due_ = steady_clock::now() + versions_again_after;
  std::vector<std::string> names;
  for (const auto& application : spec_.applications()) {
    if (!application.version_command().empty()) names.push_back(application.name());
  }
  if (names.empty()) {
    // No longer compared: what was found is not held against it.
    if (machine_.versions_differ) happen(policy::happened(policy::event_kind::versions_compared));
    return;
  }
  line_worker_->post([link = link_, runner = runner_, names, post = poster<atom::line_atom, link_report>()] {
    link_report found{.what = link_report::kind::versions};
    auto description = link->describe(describe_timeout);
    if (!description.ok()) return;  // asked again with the next connection
    found.description = *std::move(description);
    for (const std::string& one : names) found.versions.emplace(one, runner->applications().version(one));
    post(atom::line_v, std::move(found));
  });
}

void supervisor::on_versions(const link_report& report) {
  const application_version_verdict verdict = compare(report.description, report.versions);
  if (!verdict.complete) versions_due_ = std::min(versions_due_, steady_clock::now() + versions_soon_after);
  if (verdict.text != application_versions_ && !verdict.text.empty())
    log::warning(spec_.name(), "{}", verdict.text);
  application_versions_ = verdict.text;
  if (!verdict.complete || verdict.differ == machine_.versions_differ) return;
  policy::event event = policy::happened(policy::event_kind::versions_compared, verdict.text);
  event.differ = verdict.differ;
  happen(std::move(event));
}

// Brings the agent's idea of the right in line with the durable one, beside any step.
void supervisor::tell_agent() {
  if (telling_ || machine_.doing != step_id::none || committing_ || steady_clock::now() < tell_not_before_)
    return;
  std::optional<v1::HoldLeaseRequest> order = news_.order(*agent_, machine_, spec_, around_->host_name);
  if (!order) return;
  telling_ = true;
  line_worker_->post(
      [link = link_, order = *std::move(order), post = poster<atom::line_atom, link_report>()]() mutable {
        link_report told{.what = link_report::kind::told};
        auto answer = link->exchange(std::move(order), fence_timeout);
        if (answer.ok()) {
          told.state = *std::move(answer);
        } else {
          told.reason = std::string(message_of(answer.status()));
        }
        post(atom::line_v, std::move(told));
      });
}

void supervisor::watch_pings() {
  const bool monitored = machine_.at != phase::suspended && machine_.at != phase::stopped && !own_address_;
  if (monitored) {
    around_->prober.resume(spec_.name());
  } else {
    around_->prober.pause(spec_.name());
    self_->send(around_->health, atom::forget_v, spec_.name());
  }
}

}  // namespace understudy::actors
