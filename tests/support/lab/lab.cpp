#include "tests/support/lab/lab.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <fstream>

#include "tests/support/lab/command.hpp"
#include "tests/support/lab/host_state.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

const std::string prefix = "understudy-lab-";  // of namespaces and directories: PREFIX PID - NUMBER ...

bool left_behind(const std::string& name) {
  if (name.rfind(prefix, 0) != 0) return false;
  pid_t pid = 0;
  const char* digits = name.data() + prefix.size();
  const auto [end, error] = std::from_chars(digits, name.data() + name.size(), pid);
  if (error != std::errc{} || end == name.data() + name.size() || *end != '-') return false;
  return ::kill(pid, 0) != 0 && errno == ESRCH;
}

std::vector<fs::path> left_behind_in(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    if (left_behind(entry->path().filename())) found.push_back(entry->path());
  return found;
}

// Another program may be doing the same: what vanishes meanwhile is no error.
void remove_left_behind() {
  for (const fs::path& name : left_behind_in("/run/netns"))
    (void)run_quietly({"ip", "netns", "del", name.filename()});
  std::error_code ignored;
  for (const fs::path& tree : left_behind_in(fs::temp_directory_path())) fs::remove_all(tree, ignored);
}

std::string without_prefix(const std::string& address) {
  return address.substr(0, address.find('/'));
}

void check_name(const std::string& name) {
  const bool legal =
      !name.empty() && name.size() <= 20 &&
      std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-'; });
  if (!legal) fail("'" + name + "' is no host name");
}

}  // namespace

struct lab::state {
  ~state() {
    hosts.clear();
    network.reset();
    if (!switch_name.empty()) (void)run_quietly({"ip", "netns", "del", switch_name});
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  }
  host& at(const std::string& name) {
    for (const auto& one : hosts)
      if (one->name() == name) return *one;
    fail("there is no host " + name);
  }

  fs::path directory;
  std::string switch_name;
  os::unique_fd network;
  std::vector<std::unique_ptr<host>> hosts;
};

lab::lab(lab_options options) : state_(std::make_unique<state>()) {
  static std::atomic<int> counter{0};
  remove_left_behind();
  const std::string id = fmt::format("{}{}-{}", prefix, ::getpid(), ++counter);
  state_->directory = fs::temp_directory_path() / id;
  fs::create_directories(state_->directory);
  state_->switch_name = id + "-switch";
  ip_batch({}, {"netns add " + state_->switch_name});
  // Without the delays of a real bridge: a port forwards as soon as it is up.
  ip_batch(
      {"-n", state_->switch_name},
      {"link add switch type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set switch up"});
  state_->network.reset(::open(("/run/netns/" + state_->switch_name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!state_->network) fail_errno("open the switch's namespace", errno);

  if (!options.gateway.empty()) options.hosts.push_back({.name = "gateway", .addresses = options.gateway});
  for (const host_options& wanted : options.hosts) {
    check_name(wanted.name);
    auto made = std::make_unique<host::state>();
    made->options = wanted;
    made->number = state_->hosts.size() + 1;
    made->namespace_name = id + "-" + wanted.name;
    made->switch_namespace = state_->switch_name;
    made->switch_network = state_->network.value();
    made->port = fmt::format("port{}", made->number);
    made->mac = fmt::format("02:75:73:00:00:{:02x}", made->number);
    made->root = state_->directory / "hosts" / wanted.name;
    made->scratch = state_->directory / "scratch" / wanted.name;
    made->logs = state_->directory / "logs" / wanted.name;
    if (!wanted.gateway.empty())
      made->gateways = {wanted.gateway};
    else if (wanted.name != "gateway")
      for (const std::string& address : options.gateway) {
        const bool v6 = address.find(':') != std::string::npos;
        const bool has_family =
            std::any_of(wanted.addresses.begin(), wanted.addresses.end(),
                        [&](const std::string& own) { return (own.find(':') != std::string::npos) == v6; });
        if (has_family) made->gateways.push_back(without_prefix(address));
      }
    state_->hosts.push_back(std::unique_ptr<host>(new host(std::move(made))));
  }
}

lab::~lab() = default;

host& lab::operator[](const std::string& name) {
  return state_->at(name);
}

std::vector<host*> lab::hosts() {
  std::vector<host*> all;
  for (const auto& one : state_->hosts) all.push_back(one.get());
  return all;
}

const fs::path& lab::directory() const {
  return state_->directory;
}

bool lab::can_cut_between() {
  unsigned long inside = 0;
  unsigned long outside = 1;
  unsigned long count = 0;
  std::ifstream("/proc/self/uid_map") >> inside >> outside >> count;
  return ::geteuid() == 0 && outside == 0 && count > 1;
}

void lab::cut_one_way(const std::string& from, const std::string& to) {
  host::state& deaf = *state_->at(to).state_;
  const std::string mac = state_->at(from).mac();
  if (std::find(deaf.unheard.begin(), deaf.unheard.end(), mac) != deaf.unheard.end()) return;
  deaf.unheard.push_back(mac);
  deaf.apply_filter();
}

void lab::cut_between(const std::string& a, const std::string& b) {
  cut_one_way(a, b);
  cut_one_way(b, a);
}

void lab::restore_between(const std::string& a, const std::string& b) {
  for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    host::state& hearing = *state_->at(to).state_;
    std::erase(hearing.unheard, state_->at(from).mac());
    hearing.apply_filter();
  }
}

}  // namespace understudy::test
