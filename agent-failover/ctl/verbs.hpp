#pragma once

// The verbs, a file per group. Each function adds its subcommands to the tree; what they do runs after the
// whole command line was read.

#include <string>

#include "agent-failover/ctl/session.hpp"
#include "agent-failover/ctl/status_view.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace understudy::ctl {

void add_server_verbs(CLI::App& root, session& s);         // server ...
void add_configuration_verbs(CLI::App& root, session& s);  // apply, export, settings, alerts
void add_status_verbs(CLI::App& root, session& s);         // status, explain
void add_history_verbs(CLI::App& root, session& s);        // log, events, changes
void add_monitoring_verbs(CLI::App& root, session& s);     // suspend, resume, stop, start
void add_takeover_verbs(CLI::App& root,
                        session& s);  // failover, stop-failover, failback, replicate, verify, rehearse
void add_application_verbs(CLI::App& root, session& s);  // application ...
void add_operation_verbs(CLI::App& root, session& s);    // operation ...
void add_recovery_verbs(CLI::App& root, session& s);     // restore, files
void add_access_verbs(CLI::App& root, session& s);       // init, login, user, token, enroll, agent
void add_diagnosis_verbs(CLI::App& root, session& s);    // doctor, support-bundle, version, completion

// A subcommand that only groups others: `server`, `operation`, ...
CLI::App* add_group(CLI::App& root, const std::string& name, const std::string& description);

// What `verb` does.
void on(CLI::App* verb, session& s, verb_body body);

// The required positional NAME of a server.
CLI::Option* add_server_name(CLI::App* verb, std::string* name);

// How to lay out text on stdout now.
view view_of(session& s);

// Prints the message as a JSON document, or else `text`, and ends with `code`.
verb_result show(session& s, const google::protobuf::Message& message, const std::string& text,
                 exit_code code = exit_code::ok);

}  // namespace understudy::ctl
