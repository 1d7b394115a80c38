#include "tests/support/host/host_world.hpp"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "agent-failover/policy/codec.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds enough{20};  // a deadline, never a pause
constexpr milliseconds ping_interval{4};    // so that misses come faster than steps end
constexpr const char* script = R"sh(
for p in $(cat PLACE/pids 2>/dev/null); do
  grep -qs '^State:.[RSDT]' /proc/$p/status && echo "stand-in $$ began while $p ran" >> PLACE/violations
done
test -e RUNS && echo "stand-in $$ began beside the primary's application" >> PLACE/violations
echo $$ >> PLACE/pids
sqlite3 -cmd '.timeout 5000' "$UNDERSTUDY_DB_MAIN" "insert into t values('stand-in')" && echo $$ >> PLACE/written
sqlite3 -cmd '.timeout 5000' "${UNDERSTUDY_DB_MAIN%/*}/made.db" "pragma journal_mode=wal; create table if not exists t(x); insert into t values('stand-in')" && echo $$ >> PLACE/made
exec sleep 1000
)sh";

std::string replaced(std::string text, const std::string& word, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += by.size())
    text.replace(at, word.size(), by);
  return text;
}

bool runs(int pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string id, command, state;
  return static_cast<bool>(stat >> id >> command >> state) && state != "Z" && state != "X";
}

bool is_child(int pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string id, command, state;
  int parent = 0;
  return static_cast<bool>(stat >> id >> command >> state >> parent) && parent == ::getpid();
}

// execve closes the pipe by which a start is reported before it sets up the new environment, so a child that
// is "started" may show an empty one for a moment.
std::string environment_of(int pid) {
  std::string environment;
  const auto read = [&] {
    std::ifstream file(fmt::format("/proc/{}/environ", pid), std::ios::binary);
    environment.assign(std::istreambuf_iterator<char>(file), {});
    return !environment.empty() || !is_child(pid) || !runs(pid);
  };
  wait_until(read, enough);
  return environment;
}

}  // namespace

world_server::world_server(const std::string& directory, std::string its_name)
    : name(std::move(its_name)),
      place((std::filesystem::create_directories(directory + "/" + name), directory + "/" + name)),
      primary(place) {
  spec.set_name(name);
  spec.set_address("127.0.0.1");
  spec.set_port(static_cast<std::uint32_t>(primary.port()));
  spec.set_mode(v1::REPLICATION_MODE_ALL);
  spec.set_present(v1::PRESENTATION_ENVIRONMENT);
  spec.mutable_ping()->set_warning_count(3);
  spec.mutable_ping()->set_failover_count(4);
  spec.mutable_ping()->set_failover_count_after_reboot(6);
  auto& database = *spec.add_databases();
  database.set_catalog("main");
  database.set_path(primary.database());
  auto& application = *spec.add_applications();
  application.set_name("app");
  application.add_start("/bin/sh");
  application.add_start("-c");
  application.add_start(replaced(replaced(script, "PLACE", place), "RUNS", primary.running_file()));
}

// By the environment it was started with: one that was killed at once has not written down its process id.
std::vector<int> world_server::stand_ins() const {
  std::vector<int> running;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid == 0 || ::getpgid(pid) != pid || !runs(pid)) continue;
    const std::string environment = environment_of(pid);
    const auto database = environment.find("UNDERSTUDY_DB_MAIN=");
    if (database == std::string::npos) continue;
    if (std::string(environment.c_str() + database).find(place) != std::string::npos) running.push_back(pid);
  }
  return running;
}

int world_server::stand_in_rows() const {
  return lines_of("written");
}

int world_server::made_rows() const {
  return lines_of("made");
}

int world_server::lines_of(const char* file) const {
  std::ifstream pids(place + "/" + file);
  int count = 0;
  for (int pid = 0; pids >> pid;) ++count;
  return count;
}

void world_server::kill_stand_ins() const {
  for (const int pid : stand_ins()) ::kill(-pid, SIGKILL);
  wait_until([&] { return stand_ins().empty(); }, enough);
}

host_world::host_world(const std::vector<std::string>& names) {
  for (const auto& name : names)
    servers.push_back(std::make_unique<world_server>(directory.path() + "/primaries", name));
  std::filesystem::create_directories(directory.path() + "/host");
}

host_world::~host_world() {
  stop();
  for (const auto& one : servers) one->kill_stand_ins();
}

void host_world::start(bool rebooted) {
  host_options options{.directory = directory.path() + "/host",
                       .servers = {},
                       .rebooted = rebooted,
                       .state_directory = state_directory,
                       .state_file_system = state_file_system,
                       .on_commit = [this](const store::changes& commit) { look_at(commit); }};
  for (const auto& one : servers) options.servers.push_back(one->spec);
  host = std::make_unique<test_host>(std::move(options));
}

bool host_world::until(const std::function<bool()>& condition) {
  return wait_until(
      [&] {
        if (host) host->ping([&](const std::string& name) { return server(name).answers_pings; });
        return condition();
      },
      enough, ping_interval);
}

bool host_world::is(const std::string& state, const std::string& name) const {
  return host->state(name).state().starts_with(state);
}

std::string host_world::operation() const {
  const auto all = host->operations();
  if (all.empty()) return "no operation";
  return fmt::format("{} {} {}/{} {}", all.back().name(), all.back().phase(), all.back().bytes_done(),
                     all.back().bytes_total(), all.back().error().message());
}

api::command host_world::command(api::verb what, const std::string& name) const {
  api::command made;
  made.what = what;
  made.server = name;
  return made;
}

bool host_world::protect(const std::string& name) {
  if (!until([&] { return host->state(name).agent_connected(); })) return false;
  const auto begun = host->command(command(api::verb::replicate_from_live, name));
  return begun && begun->status.ok() && until([&] {
           return host->state(name).is_protected() && host->state(name).status() == v1::SERVER_STATUS_OK;
         });
}

world_server& host_world::server(const std::string& name) {
  for (const auto& one : servers) {
    if (one->name == name) return *one;
  }
  throw std::out_of_range(name);
}

void host_world::look_at(const store::changes& commit) {
  for (const auto& row : commit.machines) {
    const auto machine = policy::decode(row.state);
    std::lock_guard lock(mutex_);
    if (!machine.ok()) {
      seen_.push_back("a state that cannot be read: " + row.state);
      continue;
    }
    std::uint64_t& epoch = epochs_[row.server];
    if (machine->epoch < epoch) seen_.push_back(fmt::format("epoch {} after {}", machine->epoch, epoch));
    epoch = machine->epoch;
    if (machine->at == policy::phase::monitoring && !server(row.server).stand_ins().empty())
      seen_.push_back("Monitoring while a stand-in runs");
  }
}

std::vector<std::string> host_world::violations() const {
  std::vector<std::string> all;
  {
    std::lock_guard lock(mutex_);
    all = seen_;
  }
  for (const auto& one : servers) {
    std::ifstream lines(one->place + "/violations");
    for (std::string line; std::getline(lines, line);) all.push_back(line);
    if (one->primary.went_backwards()) all.push_back("the agent's epoch shrank");
  }
  return all;
}

}  // namespace understudy::test
