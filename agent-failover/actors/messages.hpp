#pragma once

// What the host's actors tell each other. These never leave the process.

#include <caf/allowed_unsafe_message_type.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent-failover/actors/application_versions.hpp"
#include "agent-failover/api/control.hpp"
#include "agent-failover/network/prober.hpp"
#include "agent-failover/network/self_health.hpp"
#include "agent-failover/server/step_runner.hpp"
#include "agent-failover/store/state_store.hpp"
#include "common/actor/caf_compat.hpp"

namespace understudy::actors {

// What the line to an agent reports.
struct link_report {
  enum class kind {
    up,         // connected
    down,       // lost: `reason`
    state,      // the agent's state: `state`
    told,       // a grant or fence was answered (`state`), or could not be delivered (`reason`)
    described,  // what the agent said of itself after connecting: `description`
    versions,   // the same later, and the application's versions on both sides: `versions`
  };
  kind what = kind::state;
  std::string reason{};
  v1::HoldLeaseResponse state{};
  v1::DescribeResponse description{};
  application_versions versions{};
};

// A step ended. `serial` tells it from a step that was cancelled.
struct step_report {
  std::uint64_t serial = 0;
  server::step_outcome outcome;
};

// The arbiter's answer, now or when the place becomes free.
struct slot_report {
  std::uint64_t serial = 0;  // of the request it answers
  bool granted = false;
  std::uint32_t position = 0;  // in the queue, from 1
  std::string holder;          // who has the place
};

// An operator's command on its way to a server; answered exactly once.
struct command_envelope {
  api::command command;
  std::function<void(api::command_result)> answer;
};

// The same for an application.
struct application_envelope {
  std::string application;
  v1::ApplicationCommand command = v1::APPLICATION_COMMAND_UNSPECIFIED;
  std::function<void(absl::StatusOr<std::vector<v1::ApplicationStatus>>)> answer;
};

using changes_ptr = std::shared_ptr<store::changes>;

}  // namespace understudy::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::network::probe_sample)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::network::health_verdict)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::actors::link_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::actors::step_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::actors::slot_report)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::actors::changes_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(std::shared_ptr<understudy::actors::command_envelope>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(std::shared_ptr<understudy::actors::application_envelope>)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::v1::Settings)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::v1::ServerSpec)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(understudy::policy::event)
