#include "agent-failover/server/spec_check.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>

#include "agent-failover/network/ip_address.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/daily_schedule.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::size_t name_limit = 64;          // also a directory and part of a symlink's name
constexpr std::int64_t least_interval_ms = 50;  // below this a busy host would miss its own slots
constexpr std::int64_t largest_interval_ms = 60000;
constexpr std::uint32_t largest_count = 1000;
constexpr int most_tables = 1000;  // as the agent takes
constexpr std::uint32_t most_history_hours = 24 * 366;
constexpr std::uint64_t least_history_bytes = 16 << 20;  // less would be dropped as soon as it is written

bool plain_name(std::string_view name) {
  if (name.empty() || name.size() > name_limit || name.front() == '.' || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

class checker {
 public:
  std::vector<violation> found;
  void require(bool holds, std::string field, std::string description) {
    if (!holds) found.push_back({std::move(field), std::move(description)});
  }
};

void check_ping(checker& c, const v1::PingSettings& ping, const std::string& field) {
  const std::int64_t interval = TimeUtil::DurationToMilliseconds(ping.interval());
  const std::int64_t timeout = TimeUtil::DurationToMilliseconds(ping.timeout());
  c.require(interval == 0 || (interval >= least_interval_ms && interval <= largest_interval_ms),
            field + ".interval",
            fmt::format("must lie between {} ms and {} ms", least_interval_ms, largest_interval_ms));
  c.require(timeout >= 0 && (interval <= 0 || timeout <= interval), field + ".timeout",
            "must not be longer than the interval");
  for (const auto& [count, name] :
       {std::pair{ping.warning_count(), ".warning_count"},
        std::pair{ping.failover_count(), ".failover_count"},
        std::pair{ping.failover_count_after_reboot(), ".failover_count_after_reboot"}}) {
    c.require(count <= largest_count, field + name, fmt::format("must be at most {}", largest_count));
  }
  c.require(ping.failover_count() == 0 || ping.warning_count() <= ping.failover_count(),
            field + ".warning_count",
            "must not be larger than failover_count: the warning comes before the takeover");
}

void check_history(checker& c, const v1::HistorySettings& history, const std::string& field) {
  c.require(history.hours() <= most_history_hours, field + ".hours",
            fmt::format("must be at most {}", most_history_hours));
  c.require(history.bytes() == 0 || history.bytes() >= least_history_bytes, field + ".bytes",
            fmt::format("must be at least {}, or 0", least_history_bytes));
}

// Tables of SQLite's own are not an application's to name.
void check_tables(checker& c, const v1::ServerSpec& spec) {
  bool any = spec.mode() != v1::REPLICATION_MODE_CONFIGURATION || spec.databases().empty();
  for (int i = 0; i < spec.databases_size(); ++i) {
    const auto& named = spec.databases(i).configuration_tables();
    const std::string field = fmt::format("server.databases[{}].configuration_tables", i);
    any = any || !named.empty();
    c.require(named.size() <= most_tables, field, fmt::format("must be at most {}", most_tables));
    for (const std::string& table : named) {
      c.require(!table.empty() && table.find('\0') == std::string::npos && !table.starts_with("sqlite_"),
                field, fmt::format("\"{}\" is no table of an application", table));
    }
  }
  c.require(any, "server.mode",
            "configuration needs configuration_tables of at least one database: name them in the agent's "
            "configuration or with server set, or use mode warm");
}

}  // namespace

std::vector<violation> check(const v1::ServerSpec& spec) {
  checker c;
  check_tables(c, spec);
  c.require(plain_name(spec.name()), "server.name",
            "must be 1 to 64 of letters, digits, \".\", \"_\" and \"-\", not beginning with \".\" or \"-\"");
  c.require(network::parse_ip_address(spec.address()).ok(), "server.address",
            fmt::format("\"{}\" is not an IP address such as 10.0.0.5 or fd00::5", spec.address()));
  c.require(spec.port() <= 65535, "server.port", "must be at most 65535");
  if (!spec.daily().empty()) {
    const absl::Status daily = daily_schedule::parse(spec.daily()).status();
    c.require(daily.ok(), "server.daily", std::string(message_of(daily)));
  }
  c.require(!(spec.auto_stop() && spec.assume_ip()), "server.auto_stop",
            "is not possible with assume_ip: while this host holds the address, the primary cannot come back "
            "under it");
  c.require(!spec.auto_stop() || spec.auto_stop_choice() != v1::DIVERGED_CHOICE_UNSPECIFIED,
            "server.auto_stop_choice",
            "is needed with auto_stop: say what happens to data that only the primary has");
  if (!spec.local_dir().empty()) {
    absl::Status path = check_primary_path(spec.local_dir());
    c.require(path.ok(), "server.local_dir", std::string(message_of(path)));
  }
  for (int i = 0; i < spec.service_addresses_size(); ++i) {
    const auto& service = spec.service_addresses(i);
    const std::string field = fmt::format("server.service_addresses[{}]", i);
    c.require(network::parse_ip_address(service.address()).ok(), field,
              fmt::format("\"{}\" is not an IP address", service.address()));
    c.require(service.address() != spec.address(), field,
              "is the control address itself; leave service addresses out to adopt that one");
  }
  c.require(spec.service_addresses().empty() || spec.assume_ip(), "server.service_addresses",
            "are adopted only with assume_ip");
  std::set<std::string> catalogs;
  for (int i = 0; i < spec.databases_size(); ++i) {
    const auto& database = spec.databases(i);
    const std::string field = fmt::format("server.databases[{}]", i);
    c.require(plain_name(database.catalog()), field + ".catalog", "must be a plain name, as server.name");
    c.require(catalogs.insert(database.catalog()).second, field + ".catalog",
              fmt::format("\"{}\" is there twice", database.catalog()));
    absl::Status path = check_primary_path(database.path());
    c.require(path.ok(), field + ".path", std::string(message_of(path)));
    // Its directory is presented as a whole, and "/" is everything.
    c.require(!path.ok() || spec.present() == v1::PRESENTATION_ENVIRONMENT || database.path().rfind('/') > 0,
              field + ".path", "must not lie in \"/\" itself, unless it is presented by the environment");
  }
  for (int i = 0; i < spec.files_size(); ++i) {
    absl::Status path = check_primary_path(spec.files(i).base());
    c.require(path.ok(), fmt::format("server.files[{}].base", i), std::string(message_of(path)));
  }
  std::set<std::string> applications;
  for (int i = 0; i < spec.applications_size(); ++i) {
    const auto& application = spec.applications(i);
    const std::string field = fmt::format("server.applications[{}]", i);
    c.require(plain_name(application.name()), field + ".name", "must be a plain name");
    c.require(applications.insert(application.name()).second, field + ".name", "is there twice");
    c.require(application.unit().empty() != application.start().empty(), field,
              "needs either a systemd unit or a start command");
  }
  check_ping(c, spec.ping(), "server.ping");
  check_history(c, spec.history(), "server.history");
  return c.found;
}

std::vector<violation> check(const v1::Settings& settings) {
  checker c;
  check_ping(c, settings.ping(), "settings.ping");
  check_history(c, settings.history(), "settings.history");
  const auto& alerts = settings.alerts();
  c.require(alerts.smtp_port() <= 65535, "settings.alerts.smtp_port", "must be at most 65535");
  if (!alerts.smtp_server().empty()) {
    c.require(alerts.from().find('@') != std::string::npos, "settings.alerts.from",
              "must be an e-mail address: mail servers refuse alerts without one");
    c.require(alerts.recipients().find('@') != std::string::npos, "settings.alerts.recipients",
              "must be e-mail addresses, separated by commas");
  }
  if (!settings.application_dir().empty()) {
    absl::Status path = check_primary_path(settings.application_dir());
    c.require(path.ok(), "settings.application_dir", std::string(message_of(path)));
  }
  return c.found;
}

absl::Status to_status(const std::vector<violation>& violations) {
  if (violations.empty()) return absl::OkStatus();
  std::string text;
  for (const auto& v : violations)
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", v.field, v.description);
  return absl::InvalidArgumentError(text);
}

v1::PingSettings effective_ping(const v1::ServerSpec& spec, const v1::Settings& settings) {
  v1::PingSettings ping;
  *ping.mutable_interval() = TimeUtil::MillisecondsToDuration(2000);
  *ping.mutable_timeout() = TimeUtil::MillisecondsToDuration(1000);
  ping.set_warning_count(5);
  ping.set_failover_count(15);
  ping.set_failover_count_after_reboot(30);
  for (const v1::PingSettings& layer : {settings.ping(), spec.ping()}) {
    if (TimeUtil::DurationToMilliseconds(layer.interval()) > 0) *ping.mutable_interval() = layer.interval();
    if (TimeUtil::DurationToMilliseconds(layer.timeout()) > 0) *ping.mutable_timeout() = layer.timeout();
    if (layer.warning_count() > 0) ping.set_warning_count(layer.warning_count());
    if (layer.failover_count() > 0) ping.set_failover_count(layer.failover_count());
    if (layer.failover_count_after_reboot() > 0) {
      ping.set_failover_count_after_reboot(layer.failover_count_after_reboot());
    }
  }
  if (TimeUtil::DurationToMilliseconds(ping.timeout()) > TimeUtil::DurationToMilliseconds(ping.interval())) {
    *ping.mutable_timeout() = ping.interval();
  }
  ping.set_warning_count(std::min(ping.warning_count(), ping.failover_count()));
  // The caution after a reboot is never less than the ordinary one.
  ping.set_failover_count_after_reboot(std::max(ping.failover_count_after_reboot(), ping.failover_count()));
  return ping;
}

std::vector<std::string> ping_warnings(const v1::PingSettings& ping) {
  std::vector<std::string> warnings;
  const std::int64_t interval = TimeUtil::DurationToMilliseconds(ping.interval());
  if (interval == 0 && ping.failover_count() == 0) return warnings;
  const std::int64_t interval_used = interval > 0 ? interval : 2000;
  const std::uint32_t count = ping.failover_count() > 0 ? ping.failover_count() : 15;
  const std::int64_t total = interval_used * count;
  if (total < 10000) {
    warnings.push_back(fmt::format(
        "takeover after {} ms without a reply: a rebooting switch or a busy primary can look like a failure",
        total));
  }
  return warnings;
}

}  // namespace understudy::server
