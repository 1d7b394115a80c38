#include "agent-failover/ctl/doctor.hpp"

#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "agent-failover/ctl/version.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::ctl {

namespace {

constexpr std::uint64_t LOW_SPACE = 1ULL << 30;  // bytes; less is not enough for one copy of any size
constexpr long FEW_WATCHES = 65'536;             // inotify watches: one per directory of the file trees

const char* word(verdict result) {
  switch (result) {
    case verdict::ok:
      return "ok";
    case verdict::warning:
      return "warning";
    case verdict::failed:
      return "failed";
  }
  return "?";
}

finding kernel() {
  utsname names{};
  int major = 0;
  int minor = 0;
  ::uname(&names);
  std::sscanf(names.release, "%9d.%9d", &major, &minor);
  const bool ok = major > 5 || (major == 5 && minor >= 6);
  return {"this machine", "kernel", ok ? verdict::ok : verdict::failed, names.release,
          ok ? "" : "5.6 or newer is needed (openat2)"};
}

finding clock_sync() {
  timex state{};
  const bool ok = ::adjtimex(&state) != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
  return {"this machine", "clock", ok ? verdict::ok : verdict::warning,
          ok ? "synchronised" : "not synchronised",
          ok ? "" : "run a time service, for example systemd-timesyncd or chrony"};
}

finding port(int number, const char* use) {
  const os::unique_fd fd{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<std::uint16_t>(number));
  const int on = 1;
  ::setsockopt(fd.value(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool ok = fd && ::bind(fd.value(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  return {"this machine", fmt::format("port {}", number), ok ? verdict::ok : verdict::warning,
          fmt::format("{}: {}", use, ok ? "free" : "in use"),
          ok ? ""
             : fmt::format("see who has it: ss -tlnp sport = :{}; another one: `listen` in understudyd.toml",
                           number)};
}

finding ping_socket() {
  const os::unique_fd raw{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP)};
  const bool ok = static_cast<bool>(raw);
  return {"this machine", "ping", ok ? verdict::ok : verdict::warning,
          ok ? "raw sockets can be opened" : "no raw socket for this user",
          ok ? "" : "understudyd needs CAP_NET_RAW; its unit grants it, so run this check as root"};
}

finding service_manager() {
  const bool ok = ::access("/run/systemd/system", F_OK) == 0;
  return {"this machine", "systemd", ok ? verdict::ok : verdict::warning, ok ? "running" : "not running",
          ok ? "" : "units cannot be taken over without it; commands can"};
}

finding watches() {
  long count = 0;
  std::ifstream{"/proc/sys/fs/inotify/max_user_watches"} >> count;
  const bool ok = count >= FEW_WATCHES;
  return {
      "this machine", "file watches", ok ? verdict::ok : verdict::warning, fmt::format("{} per user", count),
      ok ? "" : "more directories are polled instead; raise it: sysctl fs.inotify.max_user_watches=524288"};
}

finding space() {
  // The nearest directory that is there already: before the installation there is no /var/lib/understudy.
  const char* place = ::access("/var/lib/understudy", F_OK) == 0 ? "/var/lib/understudy" : "/var/lib";
  struct statvfs fs {};
  const bool known = ::statvfs(place, &fs) == 0;
  const auto free = static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize;
  const bool ok = known && free >= LOW_SPACE;
  return {"this machine", "disk", ok ? verdict::ok : verdict::warning,
          fmt::format("{} free in {}", bytes_text(free), place),
          ok ? "" : "the copies lie there; `data_dir` in understudyd.toml says where else"};
}

finding server_state(const v1::ServerState& state) {
  const auto status = enum_text(v1::ServerStatus_descriptor(), state.status());
  auto result = verdict::warning;
  if (state.status() == v1::SERVER_STATUS_OK || state.status() == v1::SERVER_STATUS_REPLICATING)
    result = verdict::ok;
  if (state.status() == v1::SERVER_STATUS_FAILURE) result = verdict::failed;
  return {"server " + state.name(), "status", result,
          state.reason().empty() ? status : status + ": " + state.reason(),
          result == verdict::ok ? "" : fmt::format("understudyctl explain {}", state.name())};
}

}  // namespace

std::vector<finding> findings_of(const v1::GetStatusResponse& status) {
  std::vector<finding> found;
  const auto& host = status.host();
  found.push_back({"failover host", "network and clock", host.blind() ? verdict::failed : verdict::ok,
                   host.blind() ? host.reason() : "trusted",
                   host.blind() ? "it decides nothing until this is repaired" : ""});
  for (int i = 0; i < host.queue_size(); ++i) {
    found.push_back({"failover host", "queue", verdict::failed,
                     fmt::format("{} waits for the place that {} has", host.queue(i), host.standing_in_for()),
                     fmt::format("repair {0}, then: understudyctl failback {0}", host.standing_in_for())});
  }
  for (const auto& state : status.servers()) {
    const auto section = "server " + state.name();
    found.push_back(server_state(state));
    found.push_back(
        {section, "copy", state.is_protected() ? verdict::ok : verdict::failed, copy_cell(state),
         state.is_protected()
             ? ""
             : fmt::format("it cannot be taken over; understudyctl replicate from-live {}", state.name())});
    found.push_back({section, "agent", state.agent_connected() ? verdict::ok : verdict::failed,
                     state.agent_connected() ? state.agent_version() : "not connected",
                     state.agent_connected() ? "" : "on the primary: systemctl status understudy-agent"});
    if (state.protection() == v1::PROTECTION_MODE_COMPAT) {
      found.push_back({section, "protection", verdict::warning,
                       "compat: ping alone decides, so a cut network can make two run",
                       "keep the two machines on one switch; README.md says what this mode cannot prevent"});
    }
    for (const auto& text : state.warnings()) {
      found.push_back({section, "warning", verdict::warning, text,
                       fmt::format("understudyctl explain {}", state.name())});
    }
  }
  return found;
}

std::vector<finding> findings_of(const std::string& server, const v1::TestServerResponse& test) {
  std::vector<finding> found;
  for (const auto& check : test.checks()) {
    // On failure the detail says what to check.
    found.push_back(
        {"server " + server, check.name(), check.ok() ? verdict::ok : verdict::failed, check.detail(), ""});
  }
  return found;
}

std::vector<finding> findings_of(const v1::GetVersionResponse& versions, const std::string& own_version) {
  std::vector<finding> found;
  const auto compare = [&](const std::string& section, const std::string& who, const std::string& version) {
    const auto match = compare_versions(versions.version(), version);
    const auto detail = fmt::format("{} {}, failover host {}", who, version.empty() ? "unknown" : version,
                                    versions.version());
    if (match == version_match::same) {
      found.push_back({section, "version", verdict::ok, detail, ""});
    } else if (match == version_match::near) {
      found.push_back({section, "version", verdict::warning, detail,
                       "one minor apart works; upgrade the older one soon"});
    } else if (match) {
      found.push_back({section, "version", verdict::failed, detail,
                       "more than one minor apart is refused; upgrade the older one"});
    } else {
      found.push_back({section, "version", verdict::warning, detail, "it cannot be compared"});
    }
  };
  compare("failover host", "understudyctl", own_version);
  const std::map<std::string, std::string> sorted{versions.agents().begin(), versions.agents().end()};
  for (const auto& [server, version] : sorted) compare("server " + server, "agent", version);
  return found;
}

std::vector<finding> findings_before_install() {
  return {kernel(),      service_manager(), clock_sync(), port(7200, "gRPC"), port(7280, "console"),
          ping_socket(), watches(),         space()};
}

std::string doctor_view(const std::vector<finding>& findings, const view& how) {
  // Sections in order of their first finding, each with all of its findings together.
  std::vector<std::string> sections;
  for (const auto& found : findings) {
    if (std::find(sections.begin(), sections.end(), found.section) == sections.end())
      sections.push_back(found.section);
  }
  std::string text;
  std::size_t warnings = 0;
  std::size_t failures = 0;
  for (const auto& section : sections) {
    text += printable(section) + "\n";
    for (const auto& found : findings) {
      if (found.section != section) continue;
      warnings += found.result == verdict::warning ? 1 : 0;
      failures += found.result == verdict::failed ? 1 : 0;
      const auto color = found.result == verdict::ok        ? tint::good
                         : found.result == verdict::warning ? tint::doubt
                                                            : tint::bad;
      text += fmt::format("  {}{} {}: {}\n", tinted(word(found.result), color, how.colored),
                          std::string(8 - std::string_view{word(found.result)}.size(), ' '),
                          printable(found.check), printable(found.detail));
      if (!found.hint.empty()) text += fmt::format("           -> {}\n", printable(found.hint));
    }
    text += "\n";
  }
  return text + fmt::format("{} checks, {} warnings, {} failures\n", findings.size(), warnings, failures);
}

google::protobuf::Struct doctor_document(const std::vector<finding>& findings) {
  google::protobuf::Struct document;
  auto* list = (*document.mutable_fields())["checks"].mutable_list_value();
  for (const auto& found : findings) {
    auto& fields = *list->add_values()->mutable_struct_value()->mutable_fields();
    fields["section"].set_string_value(found.section);
    fields["check"].set_string_value(found.check);
    fields["result"].set_string_value(word(found.result));
    fields["detail"].set_string_value(found.detail);
    fields["hint"].set_string_value(found.hint);
  }
  return document;
}

}  // namespace understudy::ctl
