// server add|list|show|set|remove|test|auto-populate

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <memory>
#include <vector>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/spec_view.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

struct add_options {
  std::string name;
  std::string address;
  std::uint32_t port = 0;
  std::vector<std::string> service_addresses;
  bool assume_ip = false;
  bool auto_stop = false;
  std::string auto_stop_choice;
  std::string daily;
  std::string mode;
  std::string local_dir;
  std::string protection;
  std::string present;
  bool replicate_now = false;
  bool no_replicate_now = false;
  bool no_auto_populate = false;
  std::vector<std::string> fields;
  action_options action;
};

absl::StatusOr<v1::ServerSpec> spec_of(const add_options& o) {
  v1::ServerSpec spec;
  spec.set_name(o.name);
  spec.set_address(o.address);
  spec.set_port(o.port);
  spec.set_local_dir(o.local_dir);
  spec.set_assume_ip(o.assume_ip);
  spec.set_auto_stop(o.auto_stop);
  for (const auto& text : o.service_addresses) {
    UNDERSTUDY_RETURN_IF_ERROR(parse_service_address(text, spec.add_service_addresses()));
  }
  const std::pair<const char*, const std::string*> words[] = {{"daily", &o.daily},
                                                              {"mode", &o.mode},
                                                              {"protection", &o.protection},
                                                              {"present", &o.present},
                                                              {"auto_stop_choice", &o.auto_stop_choice}};
  for (const auto& [field, value] : words) {
    if (!value->empty()) UNDERSTUDY_RETURN_IF_ERROR(set_field(&spec, field, *value).status());
  }
  for (const auto& pair : o.fields) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(fmt::format("--set {}: give FIELD=VALUE", pair));
    UNDERSTUDY_RETURN_IF_ERROR(set_field(&spec, pair.substr(0, equals), pair.substr(equals + 1)).status());
  }
  return spec;
}

// Neither flag given: asks, if there is somebody to ask; else the daily time does the first copy.
bool wants_replication(session& s, const add_options& o) {
  if (o.replicate_now || o.no_replicate_now || o.action.dry_run || !s.screen().can_ask())
    return o.replicate_now;
  while (true) {
    const auto answer =
        s.screen().ask("Replicate now? Until the first copy is made the server is unprotected. [Y/n] ");
    if (!answer) return false;
    if (answer->empty() || *answer == "y" || *answer == "Y" || *answer == "yes") return true;
    if (*answer == "n" || *answer == "N" || *answer == "no") return false;
  }
}

verb_result add_server(session& s, const add_options& o) {
  v1::AddServerRequest request;
  UNDERSTUDY_ASSIGN_OR_RETURN(*request.mutable_server(), spec_of(o));
  request.set_auto_populate(!o.no_auto_populate);
  request.set_replicate_now(wants_replication(s, o));
  request.set_dry_run(o.action.dry_run);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                              s.ask<v1::AddServerResponse>(request, session::LONG_PATIENCE));
  const bool copies = answer.has_operation() && !answer.operation().name().empty();
  if (s.json() && copies && o.action.wait) {
    // One document on stdout: the operation, which is what the caller waits for.
    s.screen().err(fmt::format("{} added\n", o.name));
  } else {
    UNDERSTUDY_RETURN_IF_ERROR(show(s, answer, spec_view(answer.server(), view_of(s))).status());
  }
  if (o.action.dry_run) return exit_code::ok;
  if (!copies) {
    s.screen().err(fmt::format(
        "unprotected until the first copy is made: understudyctl replicate from-live {}\n", o.name));
    return exit_code::ok;
  }
  if (s.json() && !o.action.wait) return exit_code::ok;
  return follow(s, answer.operation(), o.action.wait);
}

verb_result set_server(session& s, const std::string& name, const std::vector<std::string>& pairs,
                       bool dry_run) {
  v1::GetServerRequest get;
  get.set_server(name);
  v1::UpdateServerRequest request;
  v1::ServerSpec& spec = *request.mutable_server();
  // Every value is judged before the host is asked for anything.
  for (const auto& pair : pairs) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(fmt::format("\"{}\": give FIELD=VALUE", pair));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto path,
                                set_field(&spec, pair.substr(0, equals), pair.substr(equals + 1)));
    if (path == "name" || path == "etag") {
      return absl::InvalidArgumentError(
          fmt::format("{} cannot be set; add the server under its new name", path));
    }
    auto* paths = request.mutable_update_mask()->mutable_paths();
    if (std::find(paths->begin(), paths->end(), path) == paths->end())
      request.mutable_update_mask()->add_paths(path);
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto present, s.ask<v1::GetServerResponse>(get));
  spec.set_name(name);
  spec.set_etag(present.spec().etag());
  request.set_dry_run(dry_run);
  auto answer = s.ask<v1::UpdateServerResponse>(request);
  if (answer.status().code() == absl::StatusCode::kAborted) {
    return with_hint(answer.status(), "somebody else changed the server meanwhile: look at it and try again");
  }
  if (!answer.ok()) return answer.status();
  return show(s, answer->server(), spec_view(answer->server(), view_of(s)));
}

verb_result remove_server(session& s, const std::string& name, bool delete_copy,
                          const action_options& action) {
  v1::RemoveServerRequest request;
  request.set_server(name);
  request.set_delete_copy(delete_copy);
  if (!action.dry_run) UNDERSTUDY_RETURN_IF_ERROR(may_proceed(s, action));
  if (action.dry_run || !action.yes) {
    request.set_dry_run(true);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto preview, s.ask<v1::RemoveServerResponse>(request));
    if (action.dry_run) return show(s, preview, preview.effect() + "\n");
    UNDERSTUDY_RETURN_IF_ERROR(confirm(s, action, name, preview.effect()));
    request.set_dry_run(false);
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::RemoveServerResponse>(request));
  return show(s, answer, answer.effect() + "\n");
}

void add_add(CLI::App* group, session& s) {
  auto o = std::make_shared<add_options>();
  auto* verb = group->add_subcommand(
      "add", "protect a server; its agent is asked for databases, files and applications");
  add_server_name(verb, &o->name);
  verb->add_option("--address", o->address, "where its agent is, and what is pinged")->required();
  verb->add_option("--port", o->port, "the agent's port (7100)")->check(CLI::Range(1, 65535));
  verb->add_option("--service-address", o->service_addresses,
                   "what clients use: ADDRESS[/PREFIX][@ADAPTER]; may be repeated")
      ->allow_extra_args(false);
  verb->add_flag("--assume-ip", o->assume_ip, "adopt the service addresses at takeover");
  verb->add_flag("--auto-stop", o->auto_stop, "hand back by itself when the primary is back");
  verb->add_option("--auto-stop-choice", o->auto_stop_choice,
                   "what --auto-stop does with data only the primary has")
      ->check(CLI::IsMember({"discard-primary", "keep-primary"}));
  verb->add_option("--daily", o->daily, "time of day of the daily replication: HH:MM, HH:MM ZONE, or none");
  verb->add_option("--mode", o->mode,
                   "warm: databases daily; all: each transaction; configuration: named tables")
      ->check(CLI::IsMember({"warm", "all", "configuration"}));
  verb->add_option("--local-dir", o->local_dir, "where the copy lies on the failover host");
  verb->add_option("--protection", o->protection, "what prevents two from running")
      ->check(CLI::IsMember({"compat", "guarded", "strict"}));
  verb->add_option("--present", o->present, "how the stand-in finds its data")
      ->check(CLI::IsMember({"original-paths", "environment"}));
  verb->add_option("--set", o->fields, "any other field: FIELD=VALUE, as for `server set`; may be repeated")
      ->allow_extra_args(false);
  auto* now = verb->add_flag("--replicate-now", o->replicate_now, "make the first copy now");
  verb->add_flag("--no-replicate-now", o->no_replicate_now, "leave the first copy to the daily time")
      ->excludes(now);
  verb->add_flag("--no-auto-populate", o->no_auto_populate, "do not ask the agent what to protect");
  add_action_options(verb, &o->action, waits::yes);
  on(verb, s, [&s, o] { return add_server(s, *o); });
}

void add_readers(CLI::App* group, session& s) {
  auto name = std::make_shared<std::string>();
  on(group->add_subcommand("list", "all servers"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto servers, s.ask<v1::ListServersResponse>(v1::ListServersRequest{}));
    return show(s, servers, server_list_view(servers, view_of(s)));
  });

  auto* show_verb = group->add_subcommand("show", "one server's configuration");
  add_server_name(show_verb, name.get());
  on(show_verb, s, [&s, name]() -> verb_result {
    v1::GetServerRequest request;
    request.set_server(*name);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::GetServerResponse>(request));
    return show(s, answer, spec_view(answer.spec(), view_of(s)));
  });

  auto* test = group->add_subcommand(
      "test", "try all that a takeover needs: ping, agent, databases, adapter, addresses");
  add_server_name(test, name.get());
  on(test, s, [&s, name]() -> verb_result {
    v1::TestServerRequest request;
    request.set_server(*name);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                                s.ask<v1::TestServerResponse>(request, session::LONG_PATIENCE));
    const bool ok =
        std::all_of(answer.checks().begin(), answer.checks().end(), [](const auto& c) { return c.ok(); });
    return show(s, answer, checks_view(answer.checks(), view_of(s)), ok ? exit_code::ok : exit_code::failed);
  });

  auto address = std::make_shared<std::string>();
  auto port = std::make_shared<std::uint32_t>(0);
  auto* auto_populate = group->add_subcommand("auto-populate", "ask an agent what it has; stores nothing");
  auto_populate->add_option("ADDRESS", *address, "where the agent is")->required();
  auto_populate->add_option("--port", *port, "its port (7100)")->check(CLI::Range(1, 65535));
  on(auto_populate, s, [&s, address, port]() -> verb_result {
    v1::AutoPopulateRequest request;
    request.set_address(*address);
    request.set_port(*port);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                                s.ask<v1::AutoPopulateResponse>(request, session::LONG_PATIENCE));
    return show(s, answer, spec_view(answer.server(), view_of(s)));
  });
}

}  // namespace

void add_server_verbs(CLI::App& root, session& s) {
  auto* group = add_group(root, "server", "the protected servers");
  add_add(group, s);
  add_readers(group, s);

  auto name = std::make_shared<std::string>();
  auto pairs = std::make_shared<std::vector<std::string>>();
  auto action = std::make_shared<action_options>();
  auto* set = group->add_subcommand("set", "change fields: server set NAME daily=02:30 ping.interval=1s");
  add_server_name(set, name.get());
  set->add_option("FIELD=VALUE", *pairs, "fields as `server show -o json` names them; an empty value clears")
      ->required();
  set->add_flag("--dry-run", action->dry_run, "check only");
  on(set, s, [&s, name, pairs, action] { return set_server(s, *name, *pairs, action->dry_run); });

  auto delete_copy = std::make_shared<bool>(false);
  auto* remove = group->add_subcommand("remove", "end the protection of a server");
  add_server_name(remove, name.get());
  remove->add_flag("--delete-copy", *delete_copy, "also delete its copy");
  add_action_options(remove, action.get(), waits::no);
  on(remove, s, [&s, name, delete_copy, action] { return remove_server(s, *name, *delete_copy, *action); });
}

}  // namespace understudy::ctl
