// init, login, user, token, enroll, agent

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/secret.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "google/protobuf/util/time_util.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

v1::Role role_of(const std::string& word) {
  if (word == "admin") return v1::ROLE_ADMIN;
  if (word == "operator") return v1::ROLE_OPERATOR;
  return word == "viewer" ? v1::ROLE_VIEWER : v1::ROLE_UNSPECIFIED;
}

CLI::Option* add_role(CLI::App* verb, std::string* role) {
  return verb->add_option("--role", *role, "viewer: look; operator: look and act; admin: everything")
      ->check(CLI::IsMember({"viewer", "operator", "admin"}));
}

// A new password, asked for twice.
absl::StatusOr<std::string> new_secret(session& s, const std::string& file) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto password, read_secret(s.screen(), "New password: ", file));
  if (!file.empty()) return password;
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto again, read_secret(s.screen(), "The same again: ", ""));
  if (password != again) return absl::InvalidArgumentError("the two passwords differ; nothing was changed");
  return password;
}

// A removal without a dry run of its own: asks, calls, says so.
template <class Response, class Request>
verb_result revoke(session& s, const action_options& action, const std::string& subject,
                   const std::string& effect, const Request& request) {
  if (action.dry_run) {
    s.screen().out(effect + "\n");
    return exit_code::ok;
  }
  UNDERSTUDY_RETURN_IF_ERROR(may_proceed(s, action));
  if (!action.yes) UNDERSTUDY_RETURN_IF_ERROR(confirm(s, action, subject, effect));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<Response>(request));
  return show(s, answer, "");
}

void add_init_and_login(CLI::App& root, session& s) {
  auto file = std::make_shared<std::string>();
  auto* init = root.add_subcommand("init", "first start: set the operator password");
  init->add_option("--password-file", *file, "read it from FILE, - for stdin, instead of asking");
  on(init, s, [&s, file]() -> verb_result {
    v1::InitializeRequest request;
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto password, new_secret(s, *file));
    request.set_password(password);
    request.set_password_again(password);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::InitializeResponse>(request));
    s.screen().err("the operator password is set; next: understudyctl login\n");
    return show(s, answer, "");
  });

  auto user = std::make_shared<std::string>("operator");
  auto* login = root.add_subcommand("login", "exchange a password for a token, kept in ctl.toml");
  login->add_option("USER", *user, "the operator")->capture_default_str();
  login->add_option("--password-file", *file, "read the password from FILE, - for stdin, instead of asking");
  on(login, s, [&s, user, file]() -> verb_result {
    v1::LoginRequest request;
    request.set_user(*user);
    UNDERSTUDY_ASSIGN_OR_RETURN(*request.mutable_password(), read_secret(s.screen(), "Password: ", *file));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::LoginResponse>(request));
    UNDERSTUDY_RETURN_IF_ERROR(store_token(s.config_file(), answer.token()));
    s.screen().err(fmt::format("logged in as {} until {}; the token is in {}\n", *user,
                               time_text(answer.expires_at()), s.config_file()));
    return exit_code::ok;
  });
}

struct user_options {
  std::string name;
  std::string role;
  std::string password_file;
  bool ask_password = false;
  action_options action;
};

verb_result put_user(session& s, const user_options& o, bool with_password) {
  v1::PutUserRequest request;
  request.mutable_user()->set_name(o.name);
  request.mutable_user()->set_role(role_of(o.role));
  if (with_password) {
    UNDERSTUDY_ASSIGN_OR_RETURN(*request.mutable_password(), new_secret(s, o.password_file));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::PutUserResponse>(request));
  return show(
      s, answer,
      fmt::format("{} {}\n", answer.user().name(), enum_word(v1::Role_descriptor(), answer.user().role())));
}

void add_users(CLI::App& root, session& s) {
  auto* group = add_group(root, "user", "the operators");
  on(group->add_subcommand("list", "all operators"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::ListUsersResponse>(v1::ListUsersRequest{}));
    text_table table{{"USER", "ROLE"}};
    for (const auto& user : answer.users())
      table.add_row({{user.name()}, {enum_word(v1::Role_descriptor(), user.role())}});
    return show(s, answer, table.text(view_of(s).width, s.screen().colored()));
  });

  auto o = std::make_shared<user_options>();
  auto* add = group->add_subcommand("add", "a new operator");
  add->add_option("USER", o->name, "the name")->required();
  add_role(add, &o->role)->required();
  add->add_option("--password-file", o->password_file,
                  "read the password from FILE, - for stdin, instead of asking");
  on(add, s, [&s, o] { return put_user(s, *o, true); });

  auto* set = group->add_subcommand("set", "change role or password");
  set->add_option("USER", o->name, "the name")->required();
  add_role(set, &o->role);
  set->add_flag("--password", o->ask_password, "ask for a new password");
  set->add_option("--password-file", o->password_file, "read a new password from FILE, - for stdin");
  on(set, s, [&s, o]() -> verb_result {
    const bool with_password = o->ask_password || !o->password_file.empty();
    if (!with_password && o->role.empty())
      return absl::InvalidArgumentError("nothing to change: give --role or --password");
    return put_user(s, *o, with_password);
  });

  auto* remove = group->add_subcommand("remove", "remove an operator");
  remove->add_option("USER", o->name, "the name")->required();
  add_action_options(remove, &o->action, waits::no);
  on(remove, s, [&s, o] {
    v1::RemoveUserRequest request;
    request.set_name(o->name);
    return revoke<v1::RemoveUserResponse>(s, o->action, o->name,
                                          fmt::format("{} cannot log in any more.", o->name), request);
  });
}

struct token_options {
  std::string label;
  std::string role;
  std::string period = "90d";
  action_options action;
};

void add_tokens(CLI::App& root, session& s) {
  auto* group = add_group(root, "token", "tokens for programs");
  on(group->add_subcommand("list", "all tokens, without their secrets"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::ListTokensResponse>(v1::ListTokensRequest{}));
    const auto how = view_of(s);
    text_table table{{"TOKEN", "ROLE", "EXPIRES", "LAST USED"}};
    for (const auto& token : answer.tokens()) {
      table.add_row({{token.label()},
                     {enum_word(v1::Role_descriptor(), token.role())},
                     {time_text(token.expires_at())},
                     {token.has_last_used_at() ? ago_text(token.last_used_at(), how.now) : "never"}});
    }
    return show(s, answer, table.text(how.width, how.colored));
  });

  auto o = std::make_shared<token_options>();
  auto* create = group->add_subcommand("create", "a new token; it is shown once");
  create->add_option("LABEL", o->label, "what it is for")->required();
  add_role(create, &o->role)->required();
  create->add_option("--for", o->period, "how long it is good")->capture_default_str();
  on(create, s, [&s, o]() -> verb_result {
    v1::CreateTokenRequest request;
    request.set_label(o->label);
    request.set_role(role_of(o->role));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto period, parse_duration(o->period));
    *request.mutable_period() = google::protobuf::util::TimeUtil::MillisecondsToDuration(period.count());
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::CreateTokenResponse>(request));
    s.screen().err("keep it: it is not shown again\n");
    return show(s, answer, answer.token() + "\n");
  });

  auto* end = group->add_subcommand("revoke", "end a token");
  end->add_option("LABEL", o->label, "which")->required();
  add_action_options(end, &o->action, waits::no);
  on(end, s, [&s, o] {
    v1::RevokeTokenRequest request;
    request.set_label(o->label);
    return revoke<v1::RevokeTokenResponse>(
        s, o->action, o->label, fmt::format("Programs with the token {} are refused from then on.", o->label),
        request);
  });
}

void add_agents(CLI::App& root, session& s) {
  auto server = std::make_shared<std::string>();
  auto* enroll = root.add_subcommand("enroll", "print the command with which a primary's agent joins");
  add_server_name(enroll, server.get());
  on(enroll, s, [&s, server]() -> verb_result {
    v1::CreateEnrollmentRequest request;
    request.set_server(*server);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::CreateEnrollmentResponse>(request));
    s.screen().err(
        fmt::format("run this on {}, once, before {}:\n", *server, time_text(answer.expires_at())));
    return show(s, answer, answer.command() + "\n");
  });

  auto* group = add_group(root, "agent", "the agents that joined");
  on(group->add_subcommand("list", "all agents"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::ListAgentsResponse>(v1::ListAgentsRequest{}));
    const auto how = view_of(s);
    text_table table{{"SERVER", "CERTIFICATE EXPIRES", "STATE", "FINGERPRINT"}};
    for (const auto& agent : answer.agents()) {
      table.add_row({{agent.server()},
                     {time_text(agent.expires_at())},
                     {agent.revoked() ? "REVOKED" : "VALID", agent.revoked() ? tint::bad : tint::good},
                     {agent.fingerprint()}});
    }
    return show(s, answer, table.text(how.width, how.colored));
  });

  auto action = std::make_shared<action_options>();
  auto* end = group->add_subcommand("revoke", "end an agent's certificate");
  add_server_name(end, server.get());
  add_action_options(end, action.get(), waits::no);
  on(end, s, [&s, server, action] {
    v1::RevokeAgentRequest request;
    request.set_server(*server);
    const auto effect = fmt::format(
        "The agent of {} is refused from then on, and replication ends until it joins again.", *server);
    return revoke<v1::RevokeAgentResponse>(s, *action, *server, effect, request);
  });
}

}  // namespace

void add_access_verbs(CLI::App& root, session& s) {
  add_init_and_login(root, s);
  add_users(root, s);
  add_tokens(root, s);
  add_agents(root, s);
}

}  // namespace understudy::ctl
