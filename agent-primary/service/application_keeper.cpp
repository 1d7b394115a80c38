#include "agent-primary/service/application_keeper.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::service {

application_keeper_actor::behavior_type application_keeper(
    application_keeper_actor::stateful_pointer<application_keeper_state> self,
    std::shared_ptr<application::application_set> set,
    std::function<void(const std::vector<application::application_status>&)> report) {
  self->state.set = set;
  // Answers come on the set's own thread, and so only while it exists; a reference of theirs could be the
  // last one.
  const auto report_from = [report, raw = set.get()](const char* what, const absl::Status& status) {
    if (absl::IsCancelled(status)) return;
    if (!status.ok()) log::warning("", "{} the applications: {}", what, message_of(status));
    report(raw->status());
  };
  return {
      [set, report_from](atom::start_atom) {
        set->start_all([report_from](const absl::Status& status) { report_from("starting", status); });
      },
      [set, report_from](atom::stop_atom, std::int64_t grace_ms) {
        set->stop_all(std::chrono::milliseconds(grace_ms),
                      [report_from](const absl::Status& status) { report_from("stopping", status); });
      },
      [set, report_from](atom::control_atom, const application_request& request) {
        set->control(request.name, request.what,
                     [report_from, answer = request.answer](const absl::Status& status) {
                       report_from("controlling", status);
                       if (answer) answer(status);
                     });
      },
  };
}

}  // namespace understudy::service
