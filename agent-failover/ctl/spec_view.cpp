#include "agent-failover/ctl/spec_view.hpp"

#include <fmt/core.h>

namespace understudy::ctl {

namespace {

void add_pair(std::string* text, std::string_view name, const std::string& value) {
  if (!value.empty()) *text += fmt::format("{:<14}{}\n", name, printable(value));
}

std::string words(const google::protobuf::RepeatedPtrField<std::string>& list) {
  std::string text;
  for (const auto& word : list) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string yes_no(bool value) {
  return value ? "yes" : "no";
}

std::string addresses_text(const v1::ServerSpec& spec) {
  std::string text;
  for (const auto& address : spec.service_addresses()) {
    if (!text.empty()) text += ", ";
    text += address.address();
    if (address.prefix_length() != 0) text += fmt::format("/{}", address.prefix_length());
    if (!address.adapter().empty()) text += "@" + address.adapter();
  }
  return text;
}

// What was not said is shown as what it is taken as.
std::string word_or(const char* taken_as, const google::protobuf::EnumDescriptor* type, int value) {
  return value == 0 ? taken_as : enum_word(type, value);
}

std::string endpoint(const v1::ServerSpec& spec) {
  const auto port = spec.port() == 0 ? 7100 : spec.port();
  const bool ipv6 = spec.address().find(':') != std::string::npos;
  return ipv6 ? fmt::format("[{}]:{}", spec.address(), port) : fmt::format("{}:{}", spec.address(), port);
}

}  // namespace

std::string server_list_view(const v1::ListServersResponse& servers, const view& how) {
  text_table table{{"NAME", "ADDRESS", "MODE", "DAILY", "ASSUME-IP", "SERVICE ADDRESSES", "PROTECTION",
                    "DATABASES", "FILES", "APPLICATIONS"}};
  for (const auto& spec : servers.servers()) {
    table.add_row({{spec.name()},
                   {endpoint(spec)},
                   {word_or("all", v1::ReplicationMode_descriptor(), spec.mode())},
                   {spec.daily()},
                   {yes_no(spec.assume_ip())},
                   {addresses_text(spec)},
                   {word_or("automatic", v1::ProtectionMode_descriptor(), spec.protection())},
                   {fmt::format("{}", spec.databases_size())},
                   {fmt::format("{}", spec.files_size())},
                   {fmt::format("{}", spec.applications_size())}});
  }
  return table.text(how.width, how.colored);
}

std::string spec_view(const v1::ServerSpec& spec, const view& how) {
  std::string text;
  add_pair(&text, "name", spec.name());
  add_pair(&text, "address", spec.address());
  add_pair(&text, "port", fmt::format("{}", spec.port() == 0 ? 7100 : spec.port()));
  add_pair(&text, "local dir", spec.local_dir());
  add_pair(&text, "assume ip", yes_no(spec.assume_ip()));
  add_pair(&text, "addresses", addresses_text(spec));
  add_pair(&text, "auto stop", yes_no(spec.auto_stop()));
  if (spec.auto_stop())
    add_pair(&text, "  diverged", enum_word(v1::DivergedChoice_descriptor(), spec.auto_stop_choice()));
  add_pair(&text, "daily", spec.daily().empty() ? "none" : spec.daily());
  add_pair(&text, "mode", word_or("all", v1::ReplicationMode_descriptor(), spec.mode()));
  add_pair(&text, "protection", word_or("automatic", v1::ProtectionMode_descriptor(), spec.protection()));
  add_pair(&text, "present", word_or("original-paths", v1::Presentation_descriptor(), spec.present()));
  if (spec.manual_only()) add_pair(&text, "takeover", "only by hand");
  add_pair(&text, "pre hook", words(spec.pre_hook()));
  add_pair(&text, "post hook", words(spec.post_hook()));
  add_pair(&text, "etag", spec.etag());
  text_table databases{{"DATABASE", "PATH", "CONFIGURATION TABLES"}};
  for (const auto& database : spec.databases()) {
    databases.add_row({{database.catalog()}, {database.path()}, {words(database.configuration_tables())}});
  }
  if (!databases.empty()) text += "\n" + databases.text(how.width, how.colored);
  text_table files{{"FILES BASE", "SUBDIRECTORY", "TYPES", "RECURSIVE"}};
  for (const auto& tree : spec.files()) {
    for (const auto& row : tree.include()) {
      const auto below = row.subdirectory().empty() ? "." : row.subdirectory();
      files.add_row({{tree.base()}, {below}, {words(row.types())}, {yes_no(row.recursive())}});
    }
    if (tree.include().empty()) files.add_row({{tree.base()}, {""}, {"nothing"}, {""}});
  }
  if (!files.empty()) text += "\n" + files.text(how.width, how.colored);
  text_table applications{{"APPLICATION", "UNIT OR COMMAND", "CHECK", "VERSION"}};
  for (const auto& application : spec.applications()) {
    const auto run = application.unit().empty() ? words(application.start()) : application.unit();
    applications.add_row(
        {{application.name()}, {run}, {words(application.check())}, {application.version()}});
  }
  if (!applications.empty()) text += "\n" + applications.text(how.width, how.colored);
  return text;
}

}  // namespace understudy::ctl
