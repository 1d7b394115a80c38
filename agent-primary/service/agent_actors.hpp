#pragma once

// Every actor of the agent: its interface, one comment per handler. Messages never leave the process.
//
//   root
//     database_watcher[j]   says when the capture of one database changes its state
//     file_watcher          the same for the file trees
//     application_keeper    runs the applications
//     lease_keeper          holds the right to run: the gate of agent-primary/lease with its surroundings

#include <caf/typed_actor.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-primary/application/application_set.hpp"
#include "agent-primary/lease/gate.hpp"
#include "common/actor/caf_compat.hpp"

namespace understudy::atom {

UNDERSTUDY_ATOM(feed, "feed");
UNDERSTUDY_ATOM(ask, "ask");
UNDERSTUDY_ATOM(due, "due");
UNDERSTUDY_ATOM(look, "look");
UNDERSTUDY_ATOM(start, "start");
UNDERSTUDY_ATOM(stop, "stop");
UNDERSTUDY_ATOM(change, "change");
UNDERSTUDY_ATOM(control, "control");

}  // namespace understudy::atom

namespace understudy::service {

// What the right to run looks like at one moment: for Describe, HoldLease and the log.
struct lease_snapshot {
  lease::gate_phase phase = lease::gate_phase::asking;
  lease::right_record right;
  std::string refusal;  // why the request that this answers was not carried out; empty: it was
  bool applications_down = true;
};

// An event for the gate, and who wants to know what came of it.
struct gate_request {
  lease::gate_event event;
  std::function<void(const lease_snapshot&)>
      answer;  // may be empty; called on the keeper's thread, must be quick
};

struct application_request {
  std::string name;  // empty: all
  application::command what = application::command::start;
  std::function<void(const absl::Status&)> answer;
};

using lease_keeper_actor = caf::typed_actor<
    // Something happened that the gate decides about.
    actors::handles<atom::feed_atom, gate_request>,
    // The applications changed.
    actors::handles<atom::change_atom, std::vector<application::application_status>>,
    // It is time to ask the host again; the number tells a stale timer apart.
    actors::handles<atom::ask_atom, std::uint64_t>,
    // The lease's next deadline; the number tells a stale timer apart.
    actors::handles<atom::due_atom, std::uint64_t>>;

using application_keeper_actor = caf::typed_actor<
    // Start all, in order.
    actors::handles<atom::start_atom>,
    // Stop all, in reverse, within this many milliseconds; 0: each one's own grace.
    actors::handles<atom::stop_atom, std::int64_t>,
    // An operator's command. Whether a start is allowed was decided by the gate before.
    actors::handles<atom::control_atom, application_request>>;

using database_watcher_actor = caf::typed_actor<
    // Look at the capture's state, and say so when it changed.
    actors::handles<atom::look_atom>>;

}  // namespace understudy::service

CAF_BEGIN_TYPE_ID_BLOCK(understudy_agent, understudy::actors::agent_types_begin)
CAF_ADD_TYPE_ID(understudy_agent, (understudy::service::gate_request))
CAF_ADD_TYPE_ID(understudy_agent, (understudy::service::application_request))
CAF_ADD_TYPE_ID(understudy_agent, (std::vector<understudy::application::application_status>))
CAF_END_TYPE_ID_BLOCK(understudy_agent)

UNDERSTUDY_LOCAL_MESSAGE(understudy::service::gate_request)
UNDERSTUDY_LOCAL_MESSAGE(understudy::service::application_request)
UNDERSTUDY_LOCAL_MESSAGE(std::vector<understudy::application::application_status>)
