#include "agent-primary/application/application_proto.hpp"

#include "understudy/v1/application.pb.h"

namespace understudy::application {
namespace {

v1::ApplicationState to_proto(application_state state) {
  switch (state) {
    case application_state::stopped:
      return v1::APPLICATION_STATE_STOPPED;
    case application_state::starting:
      return v1::APPLICATION_STATE_STARTING;
    case application_state::running:
      return v1::APPLICATION_STATE_RUNNING;
    case application_state::stopping:
      return v1::APPLICATION_STATE_STOPPING;
    case application_state::failed:
      return v1::APPLICATION_STATE_FAILED;
    case application_state::unhealthy:
      return v1::APPLICATION_STATE_UNHEALTHY;
  }
  return v1::APPLICATION_STATE_UNSPECIFIED;
}

}  // namespace

v1::ApplicationStatus to_proto(const application_status& status) {
  v1::ApplicationStatus result;
  result.set_name(status.name);
  result.set_state(to_proto(status.state));
  result.set_last_event(status.last_event);
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(status.since.time_since_epoch());
  result.mutable_since()->set_seconds(since.count() / 1'000'000'000);
  result.mutable_since()->set_nanos(static_cast<std::int32_t>(since.count() % 1'000'000'000));
  result.set_pid(status.pid);
  result.set_restarts(status.restarts);
  return result;
}

v1::ApplicationDescription to_proto(const application_definition& definition) {
  v1::ApplicationDescription result;
  result.set_name(definition.name);
  result.set_unit(definition.unit);
  for (const std::string& word : definition.start) result.add_start(word);
  for (const std::string& word : definition.check) result.add_check(word);
  for (const std::string& word : definition.version) result.add_version_command(word);
  for (const std::string& variable : definition.environment) result.add_environment(variable);
  result.set_working_directory(definition.working_directory);
  result.set_user(definition.user);
  return result;
}

application_definition from_proto(const v1::ApplicationDescription& description) {
  application_definition result;
  result.name = description.name();
  result.unit = description.unit();
  result.start.assign(description.start().begin(), description.start().end());
  result.check.assign(description.check().begin(), description.check().end());
  result.version.assign(description.version_command().begin(), description.version_command().end());
  result.environment.assign(description.environment().begin(), description.environment().end());
  result.working_directory = description.working_directory();
  result.user = description.user();
  return result;
}

}  // namespace understudy::application
