#include "agent-primary/service/agent_config.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "agent-primary/service/database_paths.hpp"
#include "common/config/toml_document.hpp"
#include "common/rpc/listen_address.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::service {
namespace {

using config::toml_document;
using config::toml_table;
using namespace std::chrono_literals;

constexpr std::string_view name_letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

std::string own_host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

void check_name(toml_table& table, std::string_view key, const std::string& name) {
  if (name.empty()) return;  // said already
  if (name.size() > 100 || name.front() == '.' || name.find_first_not_of(name_letters) != std::string::npos) {
    table.problem(
        key, fmt::format("\"{}\" must be made of letters, digits, '-', '_' and '.', not \"{}\"", key, name));
  }
}

void read_server(toml_table server, agent_config& result) {
  result.name = server.text("name", own_host_name());
  check_name(server, "name", result.name);
  result.listen = server.text("listen", result.listen);
  if (const auto address = rpc::parse_listen_address(result.listen); !address.ok()) {
    server.problem("listen", message_of(address.status()));
  }
  result.state_dir = server.path("state_dir", result.state_dir);
}

void read_security(toml_table security, agent_config& result) {
  result.insecure = security.flag("insecure", false);
  result.tls.certificate = security.path("certificate");
  result.tls.key = security.path("key");
  result.tls.ca = security.path("ca");
  const int given = !result.tls.certificate.empty() + !result.tls.key.empty() + !result.tls.ca.empty();
  if (given != 0 && given != 3) security.problem("certificate", "certificate, key and ca belong together");
  const auto address = rpc::parse_listen_address(result.listen);
  if (!address.ok()) return;
  if (const absl::Status status = rpc::check_plaintext(*address, result.tls.configured(), result.insecure);
      !status.ok()) {
    security.problem("insecure", message_of(status));
  }
}

void read_databases(toml_table& root, agent_config& result) {
  std::set<std::string> catalogs;
  std::set<std::string> paths;
  for (toml_table& table : root.tables("database")) {
    database_config database;
    database.catalog = table.required_text("catalog");
    table.required_text("path");
    database.path = table.path("path");
    std::string name = database.catalog;
    if (const std::string problem = wildcard_problem(database.path, database.catalog); !problem.empty()) {
      table.problem("path", problem);
    } else if (has_wildcard(database.path)) {
      name[name.find('*')] = 'x';
    }
    check_name(table, "catalog", name);
    database.configuration_tables = table.texts("configuration_tables");
    database.hold = table.flag("hold", false);
    if (!database.catalog.empty() && !catalogs.insert(database.catalog).second) {
      table.problem("catalog", fmt::format("two databases have the catalog \"{}\"", database.catalog));
    }
    if (!database.path.empty() && !paths.insert(database.path).second) {
      table.problem("path", fmt::format("two databases have the path \"{}\"", database.path));
    }
    result.databases.push_back(std::move(database));
  }
}

void read_files(toml_table& root, agent_config& result) {
  for (toml_table& table : root.tables("files")) {
    files_config files;
    table.required_text("base");
    files.base = table.path("base");
    for (toml_table& row : table.tables("include")) {
      inclusion_config inclusion;
      inclusion.subdirectory = row.text("subdirectory", ".");
      inclusion.types = row.texts("types");
      inclusion.recursive = row.flag("recursive", false);
      inclusion.ignore_case = row.flag("ignore_case", false);
      if (inclusion.types.empty())
        row.problem("types", "\"types\" must name at least one pattern; \"*\" means everything");
      if (inclusion.subdirectory.starts_with("/") || inclusion.subdirectory.find("..") != std::string::npos) {
        row.problem("subdirectory", "\"subdirectory\" must lie below the base");
      }
      files.include.push_back(std::move(inclusion));
    }
    // A base without rows means all of it.
    if (files.include.empty()) files.include.push_back({".", {"*"}, true, false});
    result.files.push_back(std::move(files));
  }
}

void read_applications(toml_table& root, agent_config& result) {
  std::set<std::string> names;
  for (toml_table& table : root.tables("application")) {
    application::application_definition a;
    a.name = table.required_text("name");
    check_name(table, "name", a.name);
    if (!a.name.empty() && !names.insert(a.name).second) {
      table.problem("name", fmt::format("two applications are named \"{}\"", a.name));
    }
    a.unit = table.text("unit");
    a.start = table.texts("start");
    if (a.unit.empty() == a.start.empty()) {
      table.problem("name", "an application needs either \"unit\" or \"start\", and not both");
    }
    a.check = table.texts("check");
    a.version = table.texts("version");
    a.environment = table.texts("environment");
    for (const std::string& variable : a.environment) {
      if (variable.find('=') == std::string::npos)
        table.problem("environment", fmt::format("\"{}\" is not NAME=VALUE", variable));
    }
    a.working_directory = table.path("working_directory");
    a.user = table.text("user");
    a.stop_grace = table.duration("stop_grace", a.stop_grace, 0ms, 10min);
    a.start_timeout = table.duration("start_timeout", a.start_timeout, 100ms, 1h);
    a.check_interval = table.duration("check_interval", a.check_interval, 100ms, 1h);
    a.check_timeout = table.duration("check_timeout", a.check_timeout, 100ms, 10min);
    result.applications.push_back(std::move(a));
  }
}

absl::StatusOr<agent_config> build(toml_document document) {
  agent_config result;
  toml_table root = document.root();
  read_server(root.table("server"), result);
  read_security(root.table("security"), result);
  read_databases(root, result);
  read_files(root, result);
  read_applications(root, result);
  toml_table host = root.table("host");
  result.host_address = host.text("address");
  result.boot_wait = host.duration("boot_wait", result.boot_wait, 0ms, 1h);
  toml_table systemd = root.table("systemd");
  result.systemctl = systemd.path("systemctl", result.systemctl);
  result.runtime_units = systemd.path("runtime_units", result.runtime_units);
  result.real_time = root.table("capture").flag("real_time", true);
  UNDERSTUDY_RETURN_IF_ERROR(document.finish());
  return result;
}

}  // namespace

absl::StatusOr<agent_config> read_agent_config(const std::string& file) {
  UNDERSTUDY_ASSIGN_OR_RETURN(toml_document document, toml_document::read(file));
  return build(std::move(document));
}

absl::StatusOr<agent_config> parse_agent_config(std::string_view content, const std::string& file_name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(toml_document document, toml_document::parse(content, file_name));
  return build(std::move(document));
}

namespace {

// Databases that a file tree must leave out, which it does from its start.
std::vector<std::string> databases_in_trees(const agent_config& config) {
  std::vector<std::string> found;
  for (const database_config& database : config.databases) {
    const std::string sure = database.path.substr(0, database.path.find('*'));
    const bool inside = std::any_of(config.files.begin(), config.files.end(), [&](const files_config& tree) {
      return sure.starts_with(tree.base + "/") ||
             (sure.size() < database.path.size() && tree.base.starts_with(sure));
    });
    if (inside) found.push_back(database.path);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::string needs_restart(const agent_config& running, const agent_config& changed) {
  std::string result;
  const auto compare = [&result](bool equal, std::string_view what) {
    if (!equal) result += fmt::format("{}{}", result.empty() ? "" : ", ", what);
  };
  compare(running.name == changed.name, "server.name");
  compare(running.listen == changed.listen, "server.listen");
  compare(running.state_dir == changed.state_dir, "server.state_dir");
  compare(running.insecure == changed.insecure && running.tls.certificate == changed.tls.certificate &&
              running.tls.key == changed.tls.key && running.tls.ca == changed.tls.ca,
          "[security]");
  compare(running.applications == changed.applications, "[[application]]");
  compare(running.files == changed.files, "[[files]]");
  compare(databases_in_trees(running) == databases_in_trees(changed),
          "a [[database]] in the base of a [[files]]");
  compare(running.systemctl == changed.systemctl && running.runtime_units == changed.runtime_units,
          "[systemd]");
  compare(running.real_time == changed.real_time, "[capture]");
  return result;
}

}  // namespace understudy::service
