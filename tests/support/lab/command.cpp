#include "tests/support/lab/command.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace understudy::test {
namespace {

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& one : strings) result.push_back(one.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& extra) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (extra.count(text.substr(0, text.find('='))) == 0) result.push_back(text);
  }
  for (const auto& [name, value] : extra) result.push_back(name + "=" + value);
  return result;
}

// What the children write to their parent: the program's pid, then nothing, or the errno of what failed.
struct launch_message {
  pid_t pid = 0;
  int error = 0;
};

// From here to exec only system calls: other threads of the test may have held any lock when we forked.
[[noreturn]] void become_program(int report, const launch_options& options, int input, int output,
                                 char* const* argv, char* const* environment) {
  ::setsid();
  for (int number = 1; number < 32; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  launch_message message;
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0 ||
      ::chdir(options.directory.c_str()) != 0) {
    message.error = errno;
  } else {
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execvpe(argv[0], argv, environment);
    message.error = errno;
  }
  (void)!::write(report, &message, sizeof message);
  ::_exit(127);
}

[[noreturn]] void enter_and_start(int report, const launch_options& options, int input, int output,
                                  char* const* argv, char* const* environment) {
  launch_message message;
  const namespace_handles* spaces = options.namespaces;
  if (spaces != nullptr) {
    if (::setns(spaces->process.value(), CLONE_NEWPID) != 0 ||
        ::setns(spaces->network.value(), CLONE_NEWNET) != 0 ||
        ::setns(spaces->name.value(), CLONE_NEWUTS) != 0 ||
        ::setns(spaces->mount.value(), CLONE_NEWNS) != 0) {
      message.error = errno;
      (void)!::write(report, &message, sizeof message);
      ::_exit(127);
    }
  }
  // A process namespace is entered by children only; CLONE_PARENT makes that child the test's own.
  const long child = ::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) become_program(report, options, input, output, argv, environment);
  message.pid = static_cast<pid_t>(child);
  if (child < 0) message.error = errno;
  (void)!::write(report, &message, sizeof message);
  ::_exit(0);
}

}  // namespace

void fail(const std::string& what) {
  throw std::runtime_error("lab: " + what);
}

void fail_errno(const std::string& what, int error) {
  fail(what + ": " + std::strerror(error));
}

int exit_status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

pid_t launch(const launch_options& options) {
  if (options.argv.empty()) fail("nothing to run");
  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> environment = environment_with(options.environment);
  const auto argv = pointers(arguments);
  const auto envp = pointers(environment);
  const char* log = options.log.empty() ? "/dev/null" : options.log.c_str();
  const os::unique_fd input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const os::unique_fd output(::open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  int ends[2];
  if (!input || !output || ::pipe2(ends, O_CLOEXEC) != 0) fail_errno(std::string("open ") + log, errno);
  const os::unique_fd reading(ends[0]);
  os::unique_fd writing(ends[1]);

  const pid_t helper = ::fork();
  if (helper < 0) fail_errno("fork", errno);
  if (helper == 0)
    enter_and_start(writing.value(), options, input.value(), output.value(), argv.data(), envp.data());
  writing.reset();
  pid_t pid = 0;
  int error = 0;
  launch_message message;
  while (::read(reading.value(), &message, sizeof message) == sizeof message) {
    if (message.pid > 0) pid = message.pid;
    if (message.error != 0) error = message.error;
  }
  while (::waitpid(helper, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (error == 0 && pid > 0) return pid;
  if (pid > 0)
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  fail_errno("start " + options.argv[0], error);
}

int run_quietly(const std::vector<std::string>& argv) {
  const pid_t pid = launch({.argv = argv});
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return exit_status_of(status);
}

void ip_batch(const std::vector<std::string>& arguments, const std::vector<std::string>& lines) {
  // memfd files stand for the batch and its output: no names, nothing to clean up.
  const os::unique_fd batch(::memfd_create("ip-batch", MFD_CLOEXEC));
  const os::unique_fd output(::memfd_create("ip-output", MFD_CLOEXEC));
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  if (!batch || !output ||
      ::write(batch.value(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    fail_errno("memfd", errno);
  const std::string self = "/proc/" + std::to_string(::getpid()) + "/fd/";
  launch_options options;
  options.argv = {"ip"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.argv.insert(options.argv.end(), {"-batch", self + std::to_string(batch.value())});
  options.log = self + std::to_string(output.value());
  const pid_t pid = launch(options);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0) return;
  std::string said(4096, '\0');
  const ssize_t got = ::pread(output.value(), said.data(), said.size(), 0);
  said.resize(static_cast<std::size_t>(got < 0 ? 0 : got));
  fail("ip: " + said + "in:\n" + text);
}

}  // namespace understudy::test
