#pragma once

// Every actor interface of the failover host.

#include <caf/typed_actor.hpp>

#include "agent-failover/actors/messages.hpp"

namespace understudy::atom {

UNDERSTUDY_ATOM(sample, "sample");
UNDERSTUDY_ATOM(line, "line");
UNDERSTUDY_ATOM(step_end, "stepend");
UNDERSTUDY_ATOM(slot, "slot");
UNDERSTUDY_ATOM(health, "health");
UNDERSTUDY_ATOM(conflict, "conflict");
UNDERSTUDY_ATOM(happened, "happened");
UNDERSTUDY_ATOM(command, "command");
UNDERSTUDY_ATOM(program, "program");
UNDERSTUDY_ATOM(changed, "changed");
UNDERSTUDY_ATOM(second, "second");
UNDERSTUDY_ATOM(settings, "settings");
UNDERSTUDY_ATOM(adopted, "adopted");
UNDERSTUDY_ATOM(own_address, "ownaddr");
UNDERSTUDY_ATOM(commit, "commit");
UNDERSTUDY_ATOM(request, "request");
UNDERSTUDY_ATOM(release, "release");
UNDERSTUDY_ATOM(forget, "forget");
UNDERSTUDY_ATOM(shutdown, "shutdown");

}  // namespace understudy::atom

namespace understudy::actors {

// The only writer of state.db.
using journal_actor = caf::typed_actor<
    // Makes the changes durable, then answers with them, event ids filled in. An error: nothing was written.
    asks<atom::commit_atom, changes_ptr>::gives<changes_ptr>>;

// One protected primary: feeds its state machine and carries out what that decides.
using supervisor_actor = caf::typed_actor<
    // A ping's outcome.
    handles<atom::sample_atom, network::probe_sample>,
    // News of the line to the agent.
    handles<atom::line_atom, link_report>,
    // A step ended.
    handles<atom::step_end_atom, step_report>,
    // The arbiter's answer.
    handles<atom::slot_atom, slot_report>,
    // This host's opinion of itself changed.
    handles<atom::health_atom, network::health_verdict>,
    // Somebody else uses an address that this host adopted: address, MAC.
    handles<atom::conflict_atom, std::string, std::string>,
    // A timer's event for the state machine.
    handles<atom::happened_atom, policy::event>,
    // An operator's command.
    handles<atom::command_atom, std::shared_ptr<command_envelope>>,
    // An operator's command to an application.
    handles<atom::program_atom, std::shared_ptr<application_envelope>>,
    // Something that status shows may have changed (streams, applications).
    handles<atom::changed_atom>,
    // Every second.
    handles<atom::second_atom>,
    // New settings are in force.
    handles<atom::settings_atom, v1::Settings>,
    // The server's specification, with other databases that its agent found.
    handles<atom::adopted_atom, v1::ServerSpec>,
    // Classic layout: the control address is (not) this host's own now.
    handles<atom::own_address_atom, bool>,
    // Ends: streams are stopped, a running stand-in is left running.
    handles<atom::shutdown_atom>>;

// Hands the one stand-in place to one server at a time, in the order of asking.
using arbiter_actor = caf::typed_actor<
    // The server wants the place; it is told by slot_report, now and when its turn comes. The number comes
    // back with every answer: what was decided before the server's last request is not taken for its answer.
    handles<atom::request_atom, std::string, supervisor_actor, std::uint64_t>,
    // It gives the place back, or leaves the queue.
    handles<atom::release_atom, std::string>>;

// Decides whether this host can believe its own pings, and tells every supervisor when that changes.
using self_health_actor = caf::typed_actor<
    // A ping's outcome, of a primary or of the gateway.
    handles<atom::sample_atom, network::probe_sample>,
    // An agent was heard.
    handles<atom::line_atom>,
    // From now on this supervisor is told.
    handles<atom::request_atom, std::string, supervisor_actor>,
    // This server is not monitored (any more).
    handles<atom::forget_atom, std::string>,
    // Every half second.
    handles<atom::second_atom>>;

}  // namespace understudy::actors
