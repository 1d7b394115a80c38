#include <fmt/format.h>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/actors/supervisor.hpp"

namespace understudy::actors {
namespace {

using policy::phase;
using std::chrono::milliseconds;

}  // namespace

void supervisor::on_command(const std::shared_ptr<command_envelope>& envelope) {
  const api::command& command = envelope->command;
  if (command.what == api::verb::verify) {
    std::string obstacle;
    if (!connected_) obstacle = "the agent is not connected: nothing to compare with";
    if (!machine_.replication.has_copy) obstacle = "there is no copy yet";
    if (!watching())
      obstacle = fmt::format("{} is {}: its copy is not being kept in step", spec_.name(),
                             policy::name_of(machine_));
    if (copy_running_) obstacle = "a copy is being made, which verifies";
    if (operations_->running()) obstacle = fmt::format("{} is under way", operations_->name());
    if (!obstacle.empty()) {
      envelope->answer({.status = absl::FailedPreconditionError(obstacle), .effect = {}, .operation = {}});
      return;
    }
    if (command.dry_run) {
      envelope->answer({.status = {}, .effect = effect_of(command, spec_, machine_), .operation = {}});
      return;
    }
    const std::string operation = operations_->begin(v1::OPERATION_KIND_VERIFY, command.actor);
    verifying_ = true;
    read_again();
    envelope->answer({.status = {}, .effect = effect_of(command, spec_, machine_), .operation = operation});
    return;
  }
  // Whoever plans a switchover can wait; the primary is stopped for nothing less than all.
  const auto first = runner_->copies().first_copies();
  if (command.what == api::verb::failover && !command.force && !first.empty() &&
      machine_.owner == policy::right_owner::primary) {
    envelope->answer({.status = absl::FailedPreconditionError(fmt::format(
                          "not everything is copied yet, {} for the first time: wait until that has ended "
                          "(`understudyctl status {}`), or go without with --force",
                          fmt::join(first, ", "), spec_.name())),
                      .effect = {},
                      .operation = {}});
    return;
  }
  enqueue({.event = event_of(command, system_clock::now()), .frozen = {}, .note = {}, .command = envelope});
}

void supervisor::on_application(const std::shared_ptr<application_envelope>& envelope) {
  const bool here = machine_.owner == policy::right_owner::failover_host;
  if (here && machine_.at != phase::standing_in && machine_.at != phase::conflict) {
    envelope->answer(absl::FailedPreconditionError(fmt::format(
        "{} is {}: its applications are not to be touched now", spec_.name(), policy::name_of(machine_))));
    return;
  }
  line_worker_->post([envelope, here, runner = runner_, link = link_]() -> void {
    if (here) {
      absl::Status done = runner->applications().control(envelope->application, envelope->command);
      if (!done.ok()) return envelope->answer(done);
      return envelope->answer(runner->applications().status());
    }
    v1::ControlApplicationRequest request;
    request.set_application(envelope->application);
    request.set_command(envelope->command);
    auto answer = link->control(request, milliseconds{90'000});
    if (!answer.ok()) return envelope->answer(answer.status());
    return envelope->answer(
        std::vector<v1::ApplicationStatus>(answer->applications().begin(), answer->applications().end()));
  });
}

}  // namespace understudy::actors
