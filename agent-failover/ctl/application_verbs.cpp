// application list|start|stop|restart NAME [APP]

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <memory>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

struct command_options {
  std::string server;
  std::string application;
  action_options action;
};

verb_result command(session& s, const command_options& o, v1::ApplicationCommand what,
                    const std::string& word) {
  v1::CommandApplicationRequest request;
  request.set_server(o.server);
  request.set_application(o.application);
  request.set_command(what);
  request.set_dry_run(o.action.dry_run);
  const bool interrupts = what != v1::APPLICATION_COMMAND_START;
  if (interrupts && !o.action.dry_run) {
    UNDERSTUDY_RETURN_IF_ERROR(may_proceed(s, o.action));
    if (!o.action.yes) {
      request.set_dry_run(true);
      UNDERSTUDY_RETURN_IF_ERROR(s.ask<v1::CommandApplicationResponse>(request).status());
      const auto which = o.application.empty() ? "all applications" : o.application;
      UNDERSTUDY_RETURN_IF_ERROR(
          confirm(s, o.action, o.server,
                  fmt::format("{} {} of {}: its users are interrupted.", word, which, o.server)));
      request.set_dry_run(false);
    }
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                              s.ask<v1::CommandApplicationResponse>(request, session::LONG_PATIENCE));
  text_table table{{"APPLICATION", "STATE", "LAST EVENT"}};
  for (const auto& application : answer.applications()) {
    table.add_row({{application.name()},
                   {enum_text(v1::ApplicationState_descriptor(), application.state())},
                   {application.last_event()}});
  }
  const auto how = view_of(s);
  return show(s, answer, table.text(how.width, how.colored));
}

}  // namespace

void add_application_verbs(CLI::App& root, session& s) {
  auto* group = add_group(root, "application", "a server's applications, on the primary and here");
  auto server = std::make_shared<std::string>();
  auto* list = group->add_subcommand("list", "what they are doing");
  add_server_name(list, server.get());
  on(list, s, [&s, server]() -> verb_result {
    v1::ListApplicationsRequest request;
    request.set_server(*server);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::ListApplicationsResponse>(request));
    return show(s, answer, applications_view(answer.primary(), answer.stand_in(), view_of(s)));
  });

  struct row {
    const char* word;
    v1::ApplicationCommand what;
    const char* description;
  };
  for (const auto& [word, what, description] :
       {row{"start", v1::APPLICATION_COMMAND_START, "start where the right to run is"},
        row{"stop", v1::APPLICATION_COMMAND_STOP, "stop"},
        row{"restart", v1::APPLICATION_COMMAND_RESTART, "stop and start"}}) {
    auto o = std::make_shared<command_options>();
    auto* verb = group->add_subcommand(word, description);
    add_server_name(verb, &o->server);
    verb->add_option("APP", o->application, "the application; all when not given");
    add_action_options(verb, &o->action, waits::no);
    on(verb, s, [&s, o, what = what, word = std::string{word}] { return command(s, *o, what, word); });
  }
}

}  // namespace understudy::ctl
