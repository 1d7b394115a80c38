// failover, stop-failover, failback, replicate from-live|to-live, verify, rehearse

#include <CLI/App.hpp>
#include <memory>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

struct takeover_options {
  std::string server;
  bool force = false;
  bool discard_primary = false;
  bool keep_primary = false;
  action_options action;

  v1::DivergedChoice choice() const {
    if (discard_primary) return v1::DIVERGED_CHOICE_DISCARD_PRIMARY;
    return keep_primary ? v1::DIVERGED_CHOICE_KEEP_PRIMARY : v1::DIVERGED_CHOICE_UNSPECIFIED;
  }
};

template <class Request>
Request request_for(const takeover_options& o) {
  Request request;
  request.set_server(o.server);
  request.set_reason(o.action.reason);
  return request;
}

// NAME, --reason, --yes, --dry-run, --wait.
std::shared_ptr<takeover_options> add_takeover_options(CLI::App* verb) {
  auto o = std::make_shared<takeover_options>();
  add_server_name(verb, &o->server);
  verb->add_option("--reason", o->action.reason, "why, for the events");
  add_action_options(verb, &o->action, waits::yes);
  return o;
}

void add_choice(CLI::App* verb, takeover_options* o) {
  auto* discard = verb->add_flag("--discard-primary", o->discard_primary,
                                 "data only the primary has: the copy wins, the primary's is set aside");
  verb->add_flag("--keep-primary", o->keep_primary,
                 "data only the primary has: it wins, the copy's is set aside")
      ->excludes(discard);
}

void add_failover(CLI::App& root, session& s) {
  auto* verb =
      root.add_subcommand("failover", "take over now: the primary is stopped first, nothing is lost");
  auto o = add_takeover_options(verb);
  verb->add_flag("--force", o->force, "take over without asking the primary; needs --reason");
  on(verb, s, [&s, o]() -> verb_result {
    if (o->force && o->action.reason.empty()) return absl::InvalidArgumentError("--force needs --reason");
    auto request = request_for<v1::FailoverRequest>(*o);
    request.set_force(o->force);
    return act<v1::FailoverResponse>(s, o->action, o->server, request);
  });
}

void add_stop_failover(CLI::App& root, session& s) {
  auto* verb = root.add_subcommand("stop-failover", "stop the stand-in and release its addresses");
  auto o = add_takeover_options(verb);
  on(verb, s, [&s, o] {
    return act<v1::StopFailoverResponse>(s, o->action, o->server, request_for<v1::StopFailoverRequest>(*o));
  });
}

void add_failback(CLI::App& root, session& s) {
  auto* verb = root.add_subcommand("failback", "hand data and control back to the primary");
  auto o = add_takeover_options(verb);
  add_choice(verb, o.get());
  on(verb, s, [&s, o] {
    auto request = request_for<v1::FailbackRequest>(*o);
    request.set_choice(o->choice());
    return act<v1::FailbackResponse>(s, o->action, o->server, request);
  });
}

void add_replicate(CLI::App& root, session& s) {
  auto* group = add_group(root, "replicate", "copy databases and files now");
  auto* from_live = group->add_subcommand("from-live", "from the primary to the copy");
  auto from = add_takeover_options(from_live);
  on(from_live, s, [&s, from]() -> verb_result {
    auto request = request_for<v1::ReplicateRequest>(*from);
    request.set_direction(v1::REPLICATE_DIRECTION_FROM_LIVE);
    // Not destructive: the copy in use stays until the new one is verified. So nobody is asked.
    auto action = from->action;
    action.yes = true;
    return act<v1::ReplicateResponse>(s, action, from->server, request);
  });

  auto* to_live = group->add_subcommand("to-live", "from the copy to the primary, with the stand-in stopped");
  auto to = add_takeover_options(to_live);
  add_choice(to_live, to.get());
  on(to_live, s, [&s, to] {
    auto request = request_for<v1::ReplicateRequest>(*to);
    request.set_direction(v1::REPLICATE_DIRECTION_TO_LIVE);
    request.set_choice(to->choice());
    return act<v1::ReplicateResponse>(s, to->action, to->server, request);
  });
}

template <class Request, class Response>
void add_trial(CLI::App& root, session& s, const char* name, const char* description) {
  auto server = std::make_shared<std::string>();
  auto wait = std::make_shared<bool>(true);
  auto* verb = root.add_subcommand(name, description);
  add_server_name(verb, server.get());
  verb->add_flag("--wait,!--no-wait", *wait, "wait for the end (default), or only begin");
  on(verb, s, [&s, server, wait]() -> verb_result {
    Request request;
    request.set_server(*server);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<Response>(request));
    if (!answer.effect().empty()) s.screen().err(answer.effect() + "\n");
    return follow(s, answer.operation(), *wait);
  });
}

}  // namespace

void add_takeover_verbs(CLI::App& root, session& s) {
  add_failover(root, s);
  add_stop_failover(root, s);
  add_failback(root, s);
  add_replicate(root, s);
  add_trial<v1::VerifyRequest, v1::VerifyResponse>(root, s, "verify",
                                                   "compare the copy with the primary, now");
  add_trial<v1::RehearseRequest, v1::RehearseResponse>(
      root, s, "rehearse",
      "start the stand-in on a clone of the copy, without its address, check it, stop it");
}

}  // namespace understudy::ctl
