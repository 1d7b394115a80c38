#include "agent-primary/application/application_runner.hpp"

#include "common/log/log.hpp"

namespace understudy::application {

const char* to_string(application_state state) {
  switch (state) {
    case application_state::stopped:
      return "stopped";
    case application_state::starting:
      return "starting";
    case application_state::running:
      return "running";
    case application_state::stopping:
      return "stopping";
    case application_state::failed:
      return "failed";
    case application_state::unhealthy:
      return "unhealthy";
  }
  return "?";
}

application_runner::application_runner(application_definition definition, event_loop& loop,
                                       std::string subject, std::function<void()> changed)
    : definition_(std::move(definition)),
      loop_(loop),
      subject_(std::move(subject)),
      changed_(std::move(changed)) {
  status_.name = definition_.name;
  status_.since = std::chrono::system_clock::now();
}

void application_runner::enter(application_state state, const std::string& event) {
  if (status_.state == state && status_.last_event == event) return;
  status_.state = state;
  status_.last_event = event;
  status_.since = std::chrono::system_clock::now();
  if (state == application_state::failed || state == application_state::unhealthy) {
    log::warning(subject_, "application {}: {}", definition_.name, event);
  } else {
    log::info(subject_, "application {}: {}", definition_.name, event);
  }
  changed_();
}

void application_runner::note(const std::string& event) {
  enter(status_.state, event);
}

}  // namespace understudy::application
