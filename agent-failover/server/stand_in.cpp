#include "agent-failover/server/stand_in.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "agent-primary/application/application_proto.hpp"
#include "agent-primary/application/application_set.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::server {
namespace {

using application::application_definition;
using application::application_state;

constexpr std::chrono::seconds control_deadline{90};
constexpr std::chrono::milliseconds own_grace{0};  // each application's own

// "ctserver-2" -> "CTSERVER_2": fit for a variable's name.
std::string variable_name(const std::string& catalog) {
  std::string name = catalog;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::isalnum(c) ? static_cast<char>(std::toupper(c)) : '_'; });
  return name;
}

}  // namespace

std::vector<application_definition> stand_in_definitions(const v1::ServerSpec& spec,
                                                         const copy_layout& layout,
                                                         const std::string& application_dir) {
  std::vector<application_definition> all;
  for (const auto& described : spec.applications()) {
    application_definition one = application::from_proto(described);
    one.environment.push_back("UNDERSTUDY_SERVER=" + spec.name());
    for (const auto& database : spec.databases()) {
      one.environment.push_back(fmt::format("UNDERSTUDY_DB_{}={}", variable_name(database.catalog()),
                                            layout.place_of(database.path())));
    }
    for (int i = 0; i < spec.files_size(); ++i) {
      one.environment.push_back(
          fmt::format("UNDERSTUDY_FILES_{}={}", i, layout.place_of(spec.files(i).base())));
    }
    if (spec.present() != v1::PRESENTATION_ENVIRONMENT) {
      for (const auto& directory : presented_directories(spec)) {
        one.binds.push_back({.source = layout.place_of(directory), .target = directory});
      }
    }
    if (one.working_directory.empty()) one.working_directory = application_dir;
    all.push_back(std::move(one));
  }
  return all;
}

stand_in::stand_in(const v1::ServerSpec& spec, const copy_layout& layout, std::string application_dir,
                   std::function<void()> on_change)
    : server_(spec.name()),
      layout_(layout),
      application_dir_(std::move(application_dir)),
      on_change_(std::move(on_change)),
      spec_(spec) {}

stand_in::~stand_in() = default;

absl::Status stand_in::adopt(const v1::ServerSpec& spec) {
  std::shared_ptr<application::application_set> former;
  {
    const std::lock_guard one_at_a_time(opening_);
    spec_ = spec;
    const std::lock_guard lock(mutex_);
    former = std::exchange(set_, nullptr);
  }
  former.reset();
  return open();
}

absl::Status stand_in::open() {
  const std::lock_guard one_at_a_time(opening_);
  if (set()) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(
      std::shared_ptr<application::application_set> opened,
      application::application_set::open(stand_in_definitions(spec_, layout_, application_dir_),
                                         {.state_directory = layout_.run(),
                                          .subject = server_,
                                          .on_change = [this](const auto&) { on_change_(); }}));
  std::lock_guard lock(mutex_);
  set_ = std::move(opened);
  return absl::OkStatus();
}

std::shared_ptr<application::application_set> stand_in::set() const {
  std::lock_guard lock(mutex_);
  return set_;
}

absl::Status stand_in::start(std::chrono::milliseconds timeout) {
  UNDERSTUDY_RETURN_IF_ERROR(open());
  return set()->wait_start_all(timeout);
}

absl::Status stand_in::stop(std::chrono::milliseconds timeout) {
  UNDERSTUDY_RETURN_IF_ERROR(open());
  return set()->wait_stop_all(own_grace, timeout);
}

absl::Status stand_in::control(const std::string& application, v1::ApplicationCommand what) {
  const auto applications = set();
  if (!applications) return absl::FailedPreconditionError("the stand-in was not started");
  const auto command = what == v1::APPLICATION_COMMAND_START  ? application::command::start
                       : what == v1::APPLICATION_COMMAND_STOP ? application::command::stop
                                                              : application::command::restart;
  return applications->wait_control(application, command, control_deadline);
}

std::vector<v1::ApplicationStatus> stand_in::status() const {
  std::vector<v1::ApplicationStatus> all;
  const auto applications = set();
  if (!applications) return all;
  for (const auto& one : applications->status()) all.push_back(application::to_proto(one));
  return all;
}

absl::StatusOr<std::string> stand_in::version(const std::string& application) {
  UNDERSTUDY_RETURN_IF_ERROR(open());
  return set()->version(application);
}

bool stand_in::up() const {
  const auto applications = set();
  return applications && !applications->all_down();
}

absl::Status stand_in::healthy() const {
  const auto applications = set();
  if (!applications) return absl::FailedPreconditionError("the stand-in was not started");
  for (const auto& one : applications->status()) {
    if (one.state != application_state::running) {
      return absl::UnavailableError(
          fmt::format("{} is {}: {}", one.name, application::to_string(one.state), one.last_event));
    }
  }
  return absl::OkStatus();
}

}  // namespace understudy::server
