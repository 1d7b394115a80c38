#pragma once

// Runs the real understudyctl and collects what it wrote.

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace understudy::test {

class ctl_process {
 public:
  using variables = std::vector<std::string>;

  // Starts it with pipes and `input` on stdin, or, with `on_terminal`, on a pseudo-terminal.
  ctl_process(std::vector<std::string> arguments, const variables& environment, const std::string& input = "",
              bool on_terminal = false) {
    arguments.insert(arguments.begin(), "understudyctl");
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    auto copy = environment;
    // A sanitizer's suppressions are for it, too.
    if (const char* options = std::getenv("TSAN_OPTIONS"); options != nullptr)
      copy.push_back(std::string("TSAN_OPTIONS=") + options);
    std::vector<char*> envp;
    for (auto& variable : copy) envp.push_back(variable.data());
    envp.push_back(nullptr);
    if (on_terminal) {
      pid_ = ::forkpty(&out_, nullptr, nullptr, nullptr);
      if (pid_ == 0) exec(argv, envp);
      return;
    }
    int in[2];
    int out[2];
    int err[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
      ::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(in[0], 0);
      ::dup2(out[1], 1);
      ::dup2(err[1], 2);
      exec(argv, envp);
    }
    ::close(in[0]);
    ::close(out[1]);
    ::close(err[1]);
    // Inputs here are far below a pipe's capacity.
    if (::write(in[1], input.data(), input.size()) != static_cast<ssize_t>(input.size())) ::abort();
    ::close(in[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~ctl_process() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
    if (err_ >= 0) ::close(err_);
  }
  ctl_process(const ctl_process&) = delete;
  ctl_process& operator=(const ctl_process&) = delete;

  void signal(int number) const { ::kill(pid_, number); }
  void type(const std::string& text) const {
    if (::write(out_, text.data(), text.size()) < 0) ::abort();
  }

  // Reads until stdout (or the terminal) has `text`; false at the end or after the deadline.
  bool shows(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + DEADLINE;
    while (stdout_.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() >= deadline || !read_some()) return false;
    }
    return true;
  }

  // Reads to the end; the exit code, or -1 when it did not end in time or died of a signal.
  int wait() {
    const auto deadline = std::chrono::steady_clock::now() + DEADLINE;
    while (std::chrono::steady_clock::now() < deadline && read_some()) {
    }
    if (std::chrono::steady_clock::now() >= deadline) return -1;
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  const std::string& out() const { return stdout_; }
  const std::string& err() const { return stderr_; }

 private:
  static constexpr std::chrono::seconds DEADLINE{30};

  [[noreturn]] static void exec(const std::vector<char*>& argv, const std::vector<char*>& envp) {
    ::execve(UNDERSTUDYCTL, argv.data(), envp.data());
    ::_exit(127);
  }

  // False when both ends are closed.
  bool read_some() {
    pollfd fds[2] = {{out_done_ ? -1 : out_, POLLIN, 0}, {err_done_ ? -1 : err_, POLLIN, 0}};
    if (out_done_ && (err_done_ || err_ < 0)) return false;
    if (::poll(fds, 2, 100) <= 0) return true;
    if (fds[0].revents != 0) out_done_ = !take(out_, &stdout_);
    if (fds[1].revents != 0) err_done_ = !take(err_, &stderr_);
    return true;
  }
  static bool take(int fd, std::string* into) {
    char buffer[4096];
    const auto got = ::read(fd, buffer, sizeof buffer);
    if (got > 0) into->append(buffer, static_cast<std::size_t>(got));
    return got > 0;
  }

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  bool out_done_ = false;
  bool err_done_ = false;
  std::string stdout_;
  std::string stderr_;
};

}  // namespace understudy::test
