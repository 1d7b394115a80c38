#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/support/lab/command.hpp"
#include "tests/support/lab/frame_filter.hpp"
#include "tests/support/lab/host_state.hpp"
#include "tests/support/lab/process_state.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Per network namespace; some kernels lack some of them.
void write_setting(const std::string& name, const std::string& value) {
  std::ofstream file("/proc/sys/net/" + name);
  file << value << std::flush;
}

// A parent waits uninterruptibly (D) for a child that was stopped between vfork and exec; it stops when it
// returns.
bool stopped_or_gone(pid_t pid) {
  const std::string line = first_line(fmt::format("/proc/{}/stat", pid));
  const auto end = line.rfind(')');  // the name before it may contain anything
  return end == std::string::npos || end + 2 >= line.size() ||
         std::string("TtDZX").find(line[end + 2]) != std::string::npos;
}

}  // namespace

short host::state::port_flags() const {
  short flags = 0;
  call_in_network(switch_network, [&] {
    const os::unique_fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    port.copy(request.ifr_name, IFNAMSIZ - 1);
    if (::ioctl(fd.value(), SIOCGIFFLAGS, &request) != 0) fail_errno("find port " + port, errno);
    flags = request.ifr_flags;
  });
  return flags;
}

void host::state::set_port(bool up) const {
  const short flags = port_flags();
  call_in_network(switch_network, [&] {
    const os::unique_fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    port.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = static_cast<short>(up ? flags | IFF_UP : flags & ~IFF_UP);
    if (::ioctl(fd.value(), SIOCSIFFLAGS, &request) != 0) fail_errno("switch port " + port, errno);
  });
}

// A carrier is noticed by the kernel's own worker, which may wait long for a turn: until then the first frame
// is lost, and with it the question for a hardware address, which is asked again only after a second.
void host::state::wait_for_carrier() const {
  (void)wait_until([&] { return (port_flags() & IFF_RUNNING) != 0; }, std::chrono::seconds{5},
                   std::chrono::milliseconds{1});
  set_port(true);  // has to wait for that worker's lock, so it has done everything by then
}

void host::state::build() {
  ip_batch({}, {"netns add " + namespace_name});
  os::unique_fd network(::open(("/run/netns/" + namespace_name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!network) fail_errno("open namespace " + namespace_name, errno);
  call_in_network(network.value(), [] {
    for (const std::string scope : {"all", "default"}) {
      write_setting("ipv6/conf/" + scope + "/accept_dad", "0");  // addresses are usable at once
      write_setting("ipv6/conf/" + scope + "/router_solicitations", "0");
      write_setting("ipv6/conf/" + scope + "/accept_ra", "0");
    }
    write_setting("ipv4/ping_group_range", "0 0");
  });
  ip_batch({"-n", switch_namespace},
           {fmt::format("link add name {} type veth peer name eth0 address {} netns {}", port, mac,
                        namespace_name),
            fmt::format("link set {} master switch up", port)});
  std::vector<std::string> lines = {"link set lo up", "link set eth0 up"};
  for (const std::string& address : options.addresses)
    lines.push_back(fmt::format("addr add {} dev eth0{}", address,
                                address.find(':') == std::string::npos ? "" : " nodad"));
  for (const std::string& gateway : gateways)
    lines.push_back(fmt::format("route add default via {} dev eth0", gateway));
  ip_batch({"-n", namespace_name}, lines);
  wait_for_carrier();

  boot_id = first_line("/proc/sys/kernel/random/uuid");
  fs::create_directories(scratch);
  std::ofstream(scratch / "boot_id") << boot_id << "\n";
  using kind = mount_step::kind;
  std::vector<mount_step> steps = {{kind::proc, "", "/proc"}};
  if (fs::is_directory("/sys/fs/cgroup")) {
    fs::create_directories(scratch / "cgroup");
    steps.push_back({kind::optional_bind, "/sys/fs/cgroup", scratch / "cgroup"});
    steps.push_back({kind::sysfs, "", "/sys"});
    steps.push_back({kind::optional_bind, scratch / "cgroup", "/sys/fs/cgroup"});
  }
  steps.push_back({kind::bind, scratch / "boot_id", "/proc/sys/kernel/random/boot_id"});
  const auto tree = private_tree_steps(options.private_directories, root, scratch);
  steps.insert(steps.end(), tree.begin(), tree.end());
  running = std::make_unique<host_namespaces>(std::move(network), options.name, steps);
  apply_filter();
}

void host::state::tear_down() {
  if (!running) return;
  set_port(false);  // first: what dying programs and their sockets still say must not get out
  running->kill_all();
  {
    const std::lock_guard lock(launched_mutex);
    for (const auto& weak : launched)
      if (const auto one = weak.lock()) (void)one->wait();
    launched.clear();
  }
  filter.reset();
  running.reset();
  // With the cable and the name goes the namespace: addresses, neighbours and half-open connections are
  // forgotten.
  ip_batch({"-n", switch_namespace}, {"link del " + port});
  ip_batch({}, {"netns del " + namespace_name});
}

void host::state::apply_filter() {
  filter.reset();
  if (unheard.empty() || !running) return;
  call_in_network(running->handles().network.value(), [this] {
    filter = drop_frames_from("eth0", unheard);
    if (!filter) fail_errno("drop frames on " + options.name + " (XDP needs real root)", errno);
  });
}

host::host(std::unique_ptr<state> s) : state_(std::move(s)) {
  state_->build();
}

host::~host() {
  try {
    state_->tear_down();
  } catch (const std::exception&) {
    // The next lab removes what is left.
  }
}

const std::string& host::name() const {
  return state_->options.name;
}
std::string host::namespace_name() const {
  return state_->namespace_name;
}
std::string host::interface() const {
  return "eth0";
}
std::string host::mac() const {
  return state_->mac;
}
std::string host::boot_id() const {
  return state_->boot_id;
}
const fs::path& host::root() const {
  return state_->root;
}

void host::write_file(const fs::path& path, const std::string& content) {
  const fs::path outside = state_->root / path.relative_path();
  fs::create_directories(outside.parent_path());
  std::ofstream file(outside, std::ios::binary | std::ios::trunc);
  file << content << std::flush;
  if (!file) fail("cannot write " + outside.string());
}

std::string host::read_file(const fs::path& path) const {
  std::ifstream file(state_->root / path.relative_path(), std::ios::binary);
  if (!file) fail("cannot read " + path.string() + " of " + name());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

process host::spawn(const std::vector<std::string>& argv, const spawn_options& options) {
  if (!powered()) fail(name() + " is switched off");
  if (argv.empty()) fail("nothing to run on " + name());
  const std::lock_guard lock(state_->launched_mutex);
  const std::string log =
      options.log.empty()
          ? fmt::format("{}-{}.log", fs::path(argv[0]).filename().string(), ++state_->launches)
          : options.log;
  fs::create_directories(state_->logs);
  const launch_options launching{argv, options.environment, options.directory, state_->logs / log,
                                 &state_->running->handles()};
  auto started = std::make_shared<process::state>(launch(launching), launching.log);
  std::erase_if(state_->launched, [](const auto& weak) { return weak.expired(); });
  state_->launched.push_back(started);
  return process(std::move(started));
}

run_result host::run(const std::vector<std::string>& argv, std::chrono::milliseconds timeout) {
  process program = spawn(argv);
  if (!wait_until([&] { return !program.running(); }, timeout, std::chrono::milliseconds{1}))
    program.state_->kill_group(SIGKILL);
  run_result result;
  result.exit = program.wait();
  result.output = program.log();
  fs::remove(program.log_path());
  return result;
}

run_result host::sh(const std::string& script) {
  return run({"/bin/sh", "-c", script});
}

void host::call(const std::function<void()>& function) {
  if (!powered()) fail(name() + " is switched off");
  call_in_network(state_->running->handles().network.value(), function);
}

void host::power_off() {
  state_->tear_down();
}

void host::power_on() {
  if (powered()) return;
  for (const fs::path& directory : state_->options.private_directories) {
    const std::string text = directory.lexically_normal();
    if (text != "/run" && text != "/tmp" && text.rfind("/run/", 0) != 0 && text.rfind("/tmp/", 0) != 0)
      continue;
    const fs::path outside = state_->root / directory.relative_path();
    if (!fs::exists(outside)) continue;
    for (const auto& entry : fs::directory_iterator(outside)) fs::remove_all(entry.path());
  }
  state_->build();
}

bool host::powered() const {
  return state_->running != nullptr;
}

void host::freeze() {
  // New processes may appear while the old ones are being stopped: repeat until a round finds none.
  std::set<pid_t> stopped;
  for (bool found_new = true; found_new;) {
    found_new = false;
    for (const pid_t pid : processes()) {
      found_new |= stopped.insert(pid).second;
      (void)::kill(pid, SIGSTOP);
    }
    if (!wait_until([&] { return std::all_of(stopped.begin(), stopped.end(), stopped_or_gone); },
                    std::chrono::seconds{10}))
      fail("could not freeze " + name());
  }
}

void host::thaw() {
  for (const pid_t pid : processes()) (void)::kill(pid, SIGCONT);
}

void host::cut() {
  state_->set_port(false);
}
void host::restore() {
  state_->set_port(true);
  state_->wait_for_carrier();
}

std::vector<pid_t> host::processes() const {
  return powered() ? state_->running->processes() : std::vector<pid_t>{};
}

pid_t host::init_pid() const {
  return powered() ? state_->running->init() : -1;
}

}  // namespace understudy::test
