#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent-primary/application/application_definition.hpp"
#include "agent-primary/application/event_loop.hpp"

namespace understudy::application {

// One application. Everything happens on the loop's thread; an answer may come before the call returns.
class application_runner {
 public:
  using answer = std::function<void(const absl::Status&)>;
  virtual ~application_runner() = default;  // leaves the application as it is; open answers get kCancelled

  // Finds out whether it runs from an earlier life. Once, before anything else.
  virtual void adopt(answer done) = 0;
  // OK when it runs and its check succeeded. A start that finds it running leaves it alone.
  virtual void start(answer done) = 0;
  // OK when nothing of it is left. A shorter grace than that of a stop under way takes effect.
  virtual void stop(std::chrono::milliseconds grace, answer done) = 0;

  const application_definition& definition() const { return definition_; }
  const application_status& status() const { return status_; }
  // Neither running nor waiting to be started again.
  virtual bool down() const = 0;
  void note(const std::string& event);

 protected:
  application_runner(application_definition definition, event_loop& loop, std::string subject,
                     std::function<void()> changed);
  void enter(application_state state, const std::string& event);

  application_definition definition_;
  event_loop& loop_;
  std::string subject_;
  std::function<void()> changed_;
  application_status status_;
};

// A command, detached in a session of its own. `directory` is for its record and log: NAME.run and NAME.log.
std::unique_ptr<application_runner> make_command_application(application_definition definition,
                                                             event_loop& loop, std::string subject,
                                                             std::string directory,
                                                             std::function<void()> changed);

// A systemd unit.
std::unique_ptr<application_runner> make_unit_application(application_definition definition, event_loop& loop,
                                                          std::string subject, std::string systemctl,
                                                          std::string runtime_units,
                                                          std::function<void()> changed);

}  // namespace understudy::application
