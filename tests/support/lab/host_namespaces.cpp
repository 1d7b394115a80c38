#include "tests/support/lab/host_namespaces.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <exception>
#include <thread>

namespace understudy::test {
namespace {

struct boot_message {
  int step = 0;  // of the mount steps; -1: before them
  int error = 0;
};

// Only system calls: this is a copy of a process that had other threads.
[[noreturn]] void be_init(int network, int lifeline, int report, const std::string& host_name,
                          const std::vector<mount_step>& steps) {
  boot_message message{-1, 0};
  ::signal(SIGCHLD, SIG_IGN);  // orphans are reaped by the kernel
  ::setsid();
  (void)::prctl(PR_SET_NAME, "lab-init");
  if (::setns(network, CLONE_NEWNET) != 0 || ::sethostname(host_name.data(), host_name.size()) != 0 ||
      ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    message.error = errno;
  } else if (const int failed = run_mount_steps(steps); failed >= 0) {
    message = {failed, errno};
  }
  (void)!::write(report, &message, sizeof message);
  if (message.error != 0) ::_exit(1);
  if (::dup2(lifeline, 0) != 0) ::_exit(1);
  ::close_range(1, ~0U, 0);
  char byte;
  while (::read(0, &byte, 1) < 0 && errno == EINTR) {
  }
  ::_exit(0);  // the lifeline was let go, on purpose or by a crash
}

os::unique_fd open_namespace(pid_t pid, const char* kind) {
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/" + kind;
  os::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) fail_errno("open " + path, errno);
  return fd;
}

}  // namespace

host_namespaces::host_namespaces(os::unique_fd network, const std::string& host_name,
                                 const std::vector<mount_step>& steps) {
  int life[2];
  int report[2];
  if (::pipe2(life, O_CLOEXEC) != 0 || ::pipe2(report, O_CLOEXEC) != 0) fail_errno("pipe", errno);
  const os::unique_fd life_end(life[0]);
  lifeline_.reset(life[1]);
  const os::unique_fd reading(report[0]);
  os::unique_fd writing(report[1]);
  const long child = ::syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | SIGCHLD, nullptr,
                               nullptr, nullptr, nullptr);
  if (child < 0) fail_errno("make namespaces for " + host_name + " (call become_root() first)", errno);
  if (child == 0) {
    ::close(life[1]);
    be_init(network.value(), life[0], report[1], host_name, steps);
  }
  init_ = static_cast<pid_t>(child);
  writing.reset();
  boot_message message{-1, ESRCH};
  while (::read(reading.value(), &message, sizeof message) < 0 && errno == EINTR) {
  }
  if (message.error != 0) {
    (void)::waitpid(init_, nullptr, 0);
    const std::string what = message.step < 0 ? "enter its namespaces"
                                              : "mount " + steps[static_cast<std::size_t>(message.step)].to;
    fail_errno("boot " + host_name + ": " + what, message.error);
  }
  handles_.network = std::move(network);
  handles_.mount = open_namespace(init_, "mnt");
  handles_.name = open_namespace(init_, "uts");
  handles_.process = open_namespace(init_, "pid");
  struct stat info {};
  if (::fstat(handles_.process.value(), &info) != 0) fail_errno("stat a namespace", errno);
  process_namespace_ = info.st_ino;
}

void host_namespaces::kill_all() {
  if (init_ > 0) (void)::kill(init_, SIGKILL);
}

host_namespaces::~host_namespaces() {
  kill_all();
  while (::waitpid(init_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::vector<pid_t> host_namespaces::processes() const {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc{} || end != name.data() + name.size() || pid == init_) continue;
    struct stat info {};
    if (::stat((entry.path() / "ns/pid").c_str(), &info) == 0 && info.st_ino == process_namespace_)
      found.push_back(pid);
  }
  return found;
}

void call_in_network(int network, const std::function<void()>& function) {
  std::exception_ptr thrown;
  std::thread worker([&] {
    try {
      if (::setns(network, CLONE_NEWNET) != 0) fail_errno("enter a network namespace", errno);
      function();
    } catch (...) {
      thrown = std::current_exception();
    }
  });
  worker.join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace understudy::test
