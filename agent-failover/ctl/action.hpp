#pragma once

// What every acting verb shares: say what will happen, ask, do, wait.

#include <functional>
#include <string>

#include "agent-failover/ctl/session.hpp"
#include "understudy/v1/operation.pb.h"

namespace understudy::ctl {

// The options of an acting verb.
struct action_options {
  bool yes = false;      // --yes
  bool dry_run = false;  // --dry-run
  bool wait = true;      // --wait, --no-wait
  std::string reason;    // --reason
};

enum class waits { no, yes };

// Adds --yes and --dry-run and, where the verb begins an operation, --wait and --no-wait.
void add_action_options(CLI::App* verb, action_options* options, waits kind);

// Call this before anything else of a destructive verb: without a terminal to ask on and without --yes it
// refuses with exit code 2, before the failover host is even reached.
absl::Status may_proceed(session& s, const action_options& options);

// Shows `effect` on stderr and asks for `subject` (a server's name, ...) to be typed. OK when it was, or with
// --yes.
absl::Status confirm(session& s, const action_options& options, const std::string& subject,
                     const std::string& effect);

// Follows an operation to its end, progress on stderr, its result on stdout (-o json: the operation itself).
// Its error becomes the verb's. With --no-wait prints its name at once. SIGINT and --timeout leave it running
// and say so.
verb_result follow(session& s, v1::Operation operation, bool wait);

// A destructive verb whose request has `dry_run` and whose response has `effect` and `operation`.
template <class Response, class Request>
verb_result act(session& s, const action_options& options, const std::string& subject, Request request) {
  if (options.dry_run) {
    request.set_dry_run(true);
    auto answer = s.ask<Response>(request);
    if (!answer.ok()) return answer.status();
    if (s.json()) {
      if (auto status = s.print_document(*answer); !status.ok()) return status;
    } else {
      s.screen().out(answer->effect() + "\n");
    }
    return exit_code::ok;
  }
  if (auto status = may_proceed(s, options); !status.ok()) return status;
  if (!options.yes) {
    request.set_dry_run(true);
    auto preview = s.ask<Response>(request);
    if (!preview.ok()) return preview.status();
    if (auto status = confirm(s, options, subject, preview->effect()); !status.ok()) return status;
    request.set_dry_run(false);
  }
  auto answer = s.ask<Response>(request);
  if (!answer.ok()) return answer.status();
  if (options.yes && !answer->effect().empty()) s.screen().err(answer->effect() + "\n");
  return follow(s, answer->operation(), options.wait);
}

}  // namespace understudy::ctl
