#include "tests/support/system/protected_system.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/util/json_util.h>
#include <signal.h>
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds poll_every{40};  // each look is a program of its own
constexpr seconds daemon_start{20};

lab_options network_of(const system_options& options) {
  lab_options made{.hosts = {{.name = "failover", .addresses = {"10.78.0.9/24"}},
                             {.name = "client", .addresses = {"10.78.0.30/24"}}},
                   .gateway = {"10.78.0.254/24"}};
  int number = 11;
  for (const std::string& name : options.primaries)
    made.hosts.push_back({.name = name, .addresses = {fmt::format("10.78.0.{}/24", number++)}});
  for (host_options& one : made.hosts) one.private_directories.push_back(options.application.directory);
  return made;
}

std::string quoted_list(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += fmt::format("{}\"{}\"", text.empty() ? "" : ", ", word);
  return "[" + text + "]";
}

std::string content(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

template <class Message>
std::optional<Message> parse(const std::string& json) {
  Message message;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (!google::protobuf::util::JsonStringToMessage(json, &message, options).ok()) return std::nullopt;
  return message;
}

}  // namespace

std::string program(const std::string& name) {
  return fs::read_symlink("/proc/self/exe").parent_path() / name;
}

protected_application counter_application() {
  protected_application made;
  made.start = {program("counter_app"), "--database", made.database, "--port", "7000"};
  made.check = {program("counter_app"), "--check", "--port", "7000"};
  return made;
}

protected_system::protected_system(system_options options)
    : options_(std::move(options)), net_(network_of(options_)) {
  write_configurations();
}

protected_system::~protected_system() {
  for (auto& [name, agent] : agents_)
    if (agent.running()) agent.signal(SIGTERM);
  if (host_daemon_ && host_daemon_->running()) host_daemon_->stop(seconds{2});
}

int protected_system::number_of(const std::string& primary) const {
  const auto found = std::find(options_.primaries.begin(), options_.primaries.end(), primary);
  return static_cast<int>(found - options_.primaries.begin()) + 1;
}

std::string protected_system::control_address(const std::string& primary) const {
  return fmt::format("10.78.0.{}", 10 + number_of(primary));
}

std::string protected_system::service_address(const std::string& primary) const {
  return fmt::format("10.78.0.{}", 50 + number_of(primary));
}

void protected_system::write_configurations() {
  failover().write_file("/etc/understudy/understudyd.toml",
                        "data_dir = \"/var/lib/understudy\"\n"
                        "[grpc]\nlisten = \"0.0.0.0:7200\"\n"
                        "[security]\ninsecure = true   # a lab\n");
  const protected_application& app = options_.application;
  for (const std::string& name : options_.primaries) {
    fs::create_directories(on_primary(app.files, name));
    net_[name].write_file(
        "/etc/understudy/agent.toml",
        fmt::format("[server]\nname = \"{}\"\n\n"
                    "[security]\ninsecure = true   # a lab\n\n"
                    "[[database]]\ncatalog = \"{}\"\npath = \"{}\"\nconfiguration_tables = {}\n\n"
                    "[[files]]\nbase = \"{}\"\n"
                    "include = [{{ subdirectory = \".\", types = [\"*\"], recursive = true }}]\n\n"
                    "[[application]]\nname = \"{}\"\nstart = {}\n{}{}"
                    "stop_grace = \"{}\"\n\n"
                    "[host]\naddress = \"10.78.0.9:7200\"\nboot_wait = \"{}\"\n\n{}",
                    name, app.name, app.database, quoted_list(options_.configuration_tables), app.files,
                    app.name, quoted_list(app.start),
                    app.check.empty() ? "" : "check = " + quoted_list(app.check) + "\n",
                    app.environment.empty() ? "" : "environment = " + quoted_list(app.environment) + "\n",
                    app.stop_grace, options_.boot_wait, options_.agent_more));
  }
}

void protected_system::start_host() {
  host_daemon_.emplace(
      failover().spawn({program("understudyd"), "--config", "/etc/understudy/understudyd.toml"},
                       {.environment = {}, .log = "understudyd.log"}));
  if (!wait_until(
          [&] { return !host_daemon_->running() || ctl({"status"}).exit == 0 || ctl({"status"}).exit == 3; },
          daemon_start, poll_every) ||
      !host_daemon_->running())
    throw std::runtime_error("understudyd does not serve:\n" + host_daemon_->log());
}

void protected_system::start_agent(const std::string& primary) {
  const std::size_t before = content(net_.directory() / "logs" / primary / "understudy-agent.log").size();
  agents_.erase(primary);
  process& agent =
      agents_
          .emplace(primary, net_[primary].spawn(
                                {program("understudy-agent"), "--config", "/etc/understudy/agent.toml"},
                                {.environment = {}, .log = "understudy-agent.log"}))
          .first->second;
  const auto serves = [&] { return agent.log().find(" serves on port", before) != std::string::npos; };
  if (!wait_until([&] { return !agent.running() || serves(); }, daemon_start) || !agent.running())
    throw std::runtime_error("understudy-agent does not serve:\n" + agent.log());
}

void protected_system::power_off(const std::string& primary) {
  net_[primary].power_off();
}

void protected_system::power_on(const std::string& primary) {
  net_[primary].power_on();
  start_agent(primary);
}

ctl_result protected_system::ctl(const std::vector<std::string>& arguments, milliseconds timeout) {
  static std::atomic<unsigned> counter{0};
  // stdout and stderr apart: one is data, the other words.
  const fs::path error = net_.directory() / fmt::format("ctl-{}", ++counter);
  std::vector<std::string> argv = {"/bin/sh", "-c", "exec \"$0\" \"$@\" 2>" + error.string(),
                                   program("understudyctl")};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const run_result ran = failover().run(argv, timeout);
  ctl_result result{.exit = ran.exit, .output = ran.output, .error = content(error)};
  fs::remove(error);
  return result;
}

std::string protected_system::must(const std::vector<std::string>& arguments, milliseconds timeout) {
  // A host that stood still, as on a busy machine, doubts itself for five seconds; an operator asks again.
  ctl_result result;
  (void)wait_until(
      [&] {
        result = ctl(arguments, timeout);
        return (result.output + result.error).find("is not possible in Blind") == std::string::npos;
      },
      seconds{30}, milliseconds{200});
  if (!result)
    throw std::runtime_error(fmt::format("understudyctl {} ended with {}:\n{}{}", fmt::join(arguments, " "),
                                         result.exit, result.output, result.error));
  return result.output;
}

void protected_system::protect(const std::string& primary, const std::vector<std::string>& more,
                               bool assume_ip) {
  std::vector<std::string> arguments = {"server",
                                        "add",
                                        primary,
                                        "--address",
                                        control_address(primary),
                                        "--mode",
                                        options_.mode,
                                        "--replicate-now",
                                        "--set",
                                        "ping.interval=200ms",
                                        "--set",
                                        "ping.timeout=150ms",
                                        "--set",
                                        "ping.warning_count=2",
                                        "--set",
                                        "ping.failover_count=5"};
  if (assume_ip) {
    arguments.insert(arguments.end(), {"--assume-ip", "--service-address", service_address(primary) + "/24"});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  must(arguments);
  if (!wait_in_step(seconds{20}, primary))
    throw std::runtime_error("no copy in step:\n" + ctl({"status", primary}).output);
}

std::optional<v1::ServerState> protected_system::state(const std::string& primary) {
  const auto answer = parse<v1::GetStatusResponse>(ctl({"status", primary, "-o", "json"}).output);
  if (!answer || answer->servers_size() != 1) return std::nullopt;
  return answer->servers(0);
}

bool protected_system::wait_state(const std::function<bool(const v1::ServerState&)>& wanted,
                                  milliseconds within, const std::string& primary) {
  return wait_until(
      [&] {
        const auto now = state(primary);
        return now && wanted(*now);
      },
      within, poll_every);
}

bool protected_system::wait_phase(const std::string& phase, milliseconds within, const std::string& primary) {
  return wait_state([&](const v1::ServerState& now) { return now.state() == phase; }, within, primary);
}

bool protected_system::wait_in_step(milliseconds within, const std::string& primary) {
  return wait_state(
      [at_rest = options_.mode == "warm"](const v1::ServerState& now) {
        const auto streams = [](const v1::CopyStatus& copy) {
          return copy.phase() == v1::COPY_PHASE_STREAMING;
        };
        const auto rests = [](const v1::CopyStatus& copy) { return copy.phase() == v1::COPY_PHASE_STOPPED; };
        return now.is_protected() && now.status() == v1::SERVER_STATUS_OK && now.agent_connected() &&
               (at_rest ? std::all_of(now.databases().begin(), now.databases().end(), rests)
                        : std::all_of(now.databases().begin(), now.databases().end(), streams)) &&
               std::all_of(now.files().begin(), now.files().end(), streams);
      },
      within, primary);
}

std::vector<v1::Event> protected_system::events(const std::string& primary) {
  const auto answer =
      parse<v1::ListEventsResponse>(ctl({"events", primary, "--limit", "1000", "-o", "json"}).output);
  if (!answer) return {};
  return {answer->events().begin(), answer->events().end()};
}

std::optional<v1::Event> protected_system::event(const std::string& kind, const std::string& primary,
                                                 std::uint64_t after) {
  std::optional<v1::Event> newest;
  for (const v1::Event& one : events(primary))
    if (one.kind() == kind && one.id() > after) newest = one;
  return newest;
}

bool protected_system::wait_event(const std::string& kind, milliseconds within, const std::string& primary,
                                  std::uint64_t after) {
  return wait_until([&] { return event(kind, primary, after).has_value(); }, within, poll_every);
}

fs::path protected_system::copy_of(const std::string& path, const std::string& primary) {
  return failover().root() / "var/lib/understudy/servers" / primary / "root" / fs::path(path).relative_path();
}

fs::path protected_system::on_primary(const std::string& path, const std::string& primary) {
  return net_[primary].root() / fs::path(path).relative_path();
}

std::vector<std::string> protected_system::counter_ids(const fs::path& database) {
  return query(database, "SELECT id FROM entry ORDER BY id");
}

bool protected_system::owns_address(host& where, const std::string& address) {
  return where.sh("ip -o address show dev eth0").output.find(" " + address + "/") != std::string::npos;
}

std::string protected_system::logs() {
  std::string text;
  for (const auto& entry : fs::recursive_directory_iterator(net_.directory() / "logs"))
    if (entry.is_regular_file())
      text += fmt::format("---- {} of {}\n{}", entry.path().filename().string(),
                          entry.path().parent_path().filename().string(), content(entry.path()));
  return text;
}

std::vector<std::string> query(const fs::path& database, const std::string& sql) {
  sqlite3* opened = nullptr;
  std::vector<std::string> rows;
  std::string problem;
  if (sqlite3_open_v2(database.c_str(), &opened, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK) {
    sqlite3_busy_timeout(opened, 5000);
    const auto collect = [](void* into, int columns, char** values, char**) {
      if (columns > 0) static_cast<std::vector<std::string>*>(into)->push_back(values[0] ? values[0] : "");
      return 0;
    };
    if (sqlite3_exec(opened, sql.c_str(), collect, &rows, nullptr) != SQLITE_OK)
      problem = sqlite3_errmsg(opened);
  } else {
    problem = "cannot be opened";
  }
  sqlite3_close(opened);
  if (!problem.empty()) throw std::runtime_error(database.string() + ": " + problem);
  return rows;
}

}  // namespace understudy::test
