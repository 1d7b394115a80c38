// apply, export, settings list|get|set, alerts test

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <vector>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/secret.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "google/protobuf/descriptor.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

absl::StatusOr<std::string> read_all(const std::string& path) {
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return text.str();
  }
  std::ifstream file{path};
  if (!file) return errno_status(errno, "open", path);
  text << file.rdbuf();
  return text.str();
}

std::string lines_of(const v1::ApplyConfigurationResponse& answer) {
  std::string text;
  for (const auto& change : answer.changes()) text += printable(change) + "\n";
  return text.empty() ? "nothing to change\n" : text;
}

verb_result apply(session& s, const std::string& path, bool prune, const action_options& action) {
  // Removing servers is what needs a confirmation; adding and changing is what `server add` and `set` do as
  // well.
  if (prune && !action.dry_run) UNDERSTUDY_RETURN_IF_ERROR(may_proceed(s, action));
  v1::ApplyConfigurationRequest request;
  UNDERSTUDY_ASSIGN_OR_RETURN(*request.mutable_toml(), read_all(path));
  request.set_prune(prune);
  if (action.dry_run || (prune && !action.yes)) {
    request.set_dry_run(true);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto preview,
                                s.ask<v1::ApplyConfigurationResponse>(request, session::LONG_PATIENCE));
    if (action.dry_run) return show(s, preview, lines_of(preview));
    UNDERSTUDY_RETURN_IF_ERROR(confirm(s, action, "apply", lines_of(preview)));
    request.set_dry_run(false);
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                              s.ask<v1::ApplyConfigurationResponse>(request, session::LONG_PATIENCE));
  return show(s, answer, lines_of(answer));
}

// "ping.interval = 2 s": every field of the settings, parts by their path.
void add_setting_rows(const google::protobuf::Message& message, const std::string& prefix,
                      text_table* table) {
  const auto* type = message.GetDescriptor();
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    const auto path = prefix + field->name();
    if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      const auto& part = reflection->GetMessage(message, field);
      if (field->message_type() != google::protobuf::Duration::descriptor()) {
        add_setting_rows(part, path + ".", table);
      } else {
        const auto& period = static_cast<const google::protobuf::Duration&>(part);
        table->add_row(
            {{path}, {reflection->HasField(message, field) ? duration_text(to_milliseconds(period)) : ""}});
      }
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
      const bool secret = field->name() == "password";
      table->add_row({{path}, {secret ? "(never shown)" : reflection->GetString(message, field)}});
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_UINT32) {
      table->add_row({{path}, {fmt::format("{}", reflection->GetUInt32(message, field))}});
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_BOOL) {
      table->add_row({{path}, {reflection->GetBool(message, field) ? "true" : "false"}});
    }
  }
}

std::string settings_view(const v1::Settings& settings, const view& how) {
  text_table table{{"SETTING", "VALUE"}};
  add_setting_rows(settings, "", &table);
  return table.text(how.width, how.colored);
}

std::string adapters_view(const v1::ListAdaptersResponse& adapters, const view& how) {
  text_table table{{"ADAPTER", "DESCRIPTION", "MAC", "ADDRESSES", "CABLE"}};
  for (const auto& adapter : adapters.adapters()) {
    std::string addresses;
    for (const auto& address : adapter.addresses()) {
      addresses +=
          fmt::format("{}{}/{}", addresses.empty() ? "" : " ", address.address(), address.prefix_length());
    }
    table.add_row({{adapter.name()},
                   {adapter.description()},
                   {adapter.mac()},
                   {addresses},
                   {adapter.carrier() ? "in" : "out", adapter.carrier() ? tint::good : tint::bad}});
  }
  return table.text(how.width, how.colored);
}

// The value of one setting, as `settings get KEY` prints it.
verb_result get_setting(session& s, const std::string& key) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::GetSettingsResponse>(v1::GetSettingsRequest{}));
  if (s.json()) return show(s, answer, "");
  // Clearing the field in a copy finds the path, or says which one was meant.
  v1::Settings copy = answer.settings();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto path, set_field(&copy, key, ""));
  const google::protobuf::Message* message = &answer.settings();
  std::string_view rest = path;
  while (true) {
    const auto dot = rest.find('.');
    const auto* field = message->GetDescriptor()->FindFieldByName(std::string{rest.substr(0, dot)});
    if (dot == std::string_view::npos) {
      const auto* reflection = message->GetReflection();
      std::string text;
      if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
        text = reflection->GetString(*message, field);
      } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_UINT32) {
        text = fmt::format("{}", reflection->GetUInt32(*message, field));
      } else if (field->message_type() == google::protobuf::Duration::descriptor()) {
        text = fmt::format("{}ms", to_milliseconds(static_cast<const google::protobuf::Duration&>(
                                                       reflection->GetMessage(*message, field)))
                                       .count());
      } else {
        return absl::InvalidArgumentError(fmt::format("{} has parts: settings list", path));
      }
      s.screen().out(text + "\n");
      return exit_code::ok;
    }
    message = &message->GetReflection()->GetMessage(*message, field);
    rest.remove_prefix(dot + 1);
  }
}

struct set_options {
  std::vector<std::string> pairs;
  std::string password_file;
  bool ask_password = false;
  bool dry_run = false;
};

verb_result set_settings(session& s, const set_options& o) {
  v1::UpdateSettingsRequest request;
  for (const auto& pair : o.pairs) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(fmt::format("\"{}\": give FIELD=VALUE", pair));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto path, set_field(request.mutable_settings(), pair.substr(0, equals),
                                                           pair.substr(equals + 1)));
    if (path == "alerts.password" && equals + 1 < pair.size()) {
      return with_hint(
          absl::InvalidArgumentError("a password in an argument can be read by every user of this machine"),
          "give --password to be asked for it, or --password-file FILE (- for stdin)");
    }
    request.mutable_update_mask()->add_paths(path);
  }
  if (o.ask_password || !o.password_file.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto password,
                                read_secret(s.screen(), "Mail server password: ", o.password_file));
    request.mutable_settings()->mutable_alerts()->set_password(std::move(password));
    request.mutable_update_mask()->add_paths("alerts.password");
  }
  if (request.update_mask().paths().empty())
    return absl::InvalidArgumentError("nothing to set: give FIELD=VALUE");
  request.set_dry_run(o.dry_run);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::UpdateSettingsResponse>(request));
  for (const auto& warning : answer.warnings()) s.screen().err("warning: " + printable(warning) + "\n");
  return show(s, answer, settings_view(answer.settings(), view_of(s)));
}

void add_settings_verbs(CLI::App& root, session& s) {
  auto* group = add_group(root, "settings", "the failover host's settings");
  on(group->add_subcommand("list", "all settings"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::GetSettingsResponse>(v1::GetSettingsRequest{}));
    return show(s, answer, settings_view(answer.settings(), view_of(s)));
  });
  on(group->add_subcommand("adapters", "the network adapters to choose from"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                                s.ask<v1::ListAdaptersResponse>(v1::ListAdaptersRequest{}));
    return show(s, answer, adapters_view(answer, view_of(s)));
  });
  auto key = std::make_shared<std::string>();
  auto* get = group->add_subcommand("get", "one setting");
  get->add_option("FIELD", *key, "for example ping.interval")->required();
  on(get, s, [&s, key] { return get_setting(s, *key); });

  auto o = std::make_shared<set_options>();
  auto* set =
      group->add_subcommand("set", "change settings: settings set alerts.smtp_server=mail ping.interval=2s");
  set->add_option("FIELD=VALUE", o->pairs, "fields as `settings list` names them; an empty value clears");
  set->add_flag("--password", o->ask_password, "ask for the mail server's password");
  set->add_option("--password-file", o->password_file,
                  "read the mail server's password from FILE, - for stdin");
  set->add_flag("--dry-run", o->dry_run, "check only");
  on(set, s, [&s, o] { return set_settings(s, *o); });
}

}  // namespace

void add_configuration_verbs(CLI::App& root, session& s) {
  auto path = std::make_shared<std::string>();
  auto prune = std::make_shared<bool>(false);
  auto action = std::make_shared<action_options>();
  auto* apply_verb = root.add_subcommand("apply", "bring servers and settings to what a TOML file says");
  apply_verb->add_option("-f,--file", *path, "the file, - for stdin")->required();
  apply_verb->add_flag("--prune", *prune, "also remove servers that the file does not name");
  add_action_options(apply_verb, action.get(), waits::no);
  on(apply_verb, s, [&s, path, prune, action] { return apply(s, *path, *prune, *action); });

  on(root.add_subcommand("export", "servers and settings as TOML, for apply"), s, [&s]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                                s.ask<v1::ExportConfigurationResponse>(v1::ExportConfigurationRequest{}));
    return show(s, answer, answer.toml());
  });

  add_settings_verbs(root, s);

  auto* alerts = add_group(root, "alerts", "mail alerts");
  on(alerts->add_subcommand("test", "send a test message with the stored settings"), s,
     [&s]() -> verb_result {
       UNDERSTUDY_ASSIGN_OR_RETURN(
           const auto answer, s.ask<v1::TestAlertsResponse>(v1::TestAlertsRequest{}, session::LONG_PATIENCE));
       if (!answer.ok() && !s.json())
         return absl::UnknownError("the test message was not sent: " + answer.detail());
       const auto code = answer.ok() ? exit_code::ok : exit_code::failed;
       return show(s, answer, (answer.detail().empty() ? "sent" : printable(answer.detail())) + "\n", code);
     });
}

}  // namespace understudy::ctl
