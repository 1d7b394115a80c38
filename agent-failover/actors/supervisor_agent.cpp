#include <fmt/core.h>

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

}  // namespace

void supervisor::on_line(const link_report& report) {
  switch (report.what) {
    case link_report::kind::up:
      connected_ = true;
      agent_trouble_.clear();
      copy_last_alive_ = steady_clock::now();
      log::info(spec_.name(), "the agent is connected");
      news_.connected();
      line_worker_->post([link = link_, post = poster<atom::line_atom, link_report>()] {
        if (auto description = link->describe(describe_timeout); description.ok()) {
          post(atom::line_v, {.what = link_report::kind::described, .description = *std::move(description)});
        }
      });
      break;
    case link_report::kind::down:
      connected_ = false;
      agent_trouble_ = report.reason;
      log::warning(spec_.name(), "the agent's connection is lost: {}", report.reason);
      break;
    case link_report::kind::described:
      news_.described(report.description);
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
  tell_agent();
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
