// suspend|resume|stop|start NAME

#include <CLI/App.hpp>
#include <memory>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "google/protobuf/util/time_util.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

struct pause_options {
  std::string server;
  std::string period;
  action_options action;
};

template <class Response, class Request>
verb_result ask_state(session& s, const Request& request) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<Response>(request));
  return show(s, answer.state(), state_line(answer.state(), view_of(s)));
}

template <class Request, class Response>
void add_pause(CLI::App& root, session& s, const char* name, const char* description, const char* period) {
  auto o = std::make_shared<pause_options>();
  auto* verb = root.add_subcommand(name, description);
  add_server_name(verb, &o->server);
  verb->add_option("--for", o->period, period);
  verb->add_option("--reason", o->action.reason, "why, for everybody who looks");
  add_action_options(verb, &o->action, waits::no);
  on(verb, s, [&s, o]() -> verb_result {
    Request request;
    request.set_server(o->server);
    request.set_reason(o->action.reason);
    request.set_dry_run(o->action.dry_run);
    if (!o->period.empty()) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto length, parse_duration(o->period));
      *request.mutable_period() = google::protobuf::util::TimeUtil::MillisecondsToDuration(length.count());
    }
    return ask_state<Response>(s, request);
  });
}

template <class Request, class Response>
void add_unpause(CLI::App& root, session& s, const char* name, const char* description) {
  auto server = std::make_shared<std::string>();
  auto* verb = root.add_subcommand(name, description);
  add_server_name(verb, server.get());
  on(verb, s, [&s, server]() -> verb_result {
    Request request;
    request.set_server(*server);
    return ask_state<Response>(s, request);
  });
}

}  // namespace

void add_monitoring_verbs(CLI::App& root, session& s) {
  add_pause<v1::SuspendRequest, v1::SuspendResponse>(root, s, "suspend",
                                                     "no monitoring, no file sync; databases go on",
                                                     "for how long (4h), for example 90m or 2d");
  add_unpause<v1::ResumeRequest, v1::ResumeResponse>(root, s, "resume",
                                                     "end a suspension; changed files are copied at once");
  add_pause<v1::StopRequest, v1::StopResponse>(root, s, "stop", "no monitoring, no sync at all",
                                               "for how long (until started), for example 90m or 2d");
  add_unpause<v1::StartRequest, v1::StartResponse>(root, s, "start",
                                                   "monitor and sync again; both are healed");
}

}  // namespace understudy::ctl
