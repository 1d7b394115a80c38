#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <fstream>
#include <sstream>
#include <utility>

#include "tests/support/lab/command.hpp"
#include "tests/support/lab/process_state.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {

process::state::~state() {
  kill_group(SIGKILL);
  (void)wait();
}

bool process::state::finished() {
  const std::lock_guard lock(mutex);
  int status = 0;
  if (!exit && ::waitpid(pid, &status, WNOHANG) == pid) exit = exit_status_of(status);
  return exit.has_value();
}

int process::state::wait() {
  while (!finished()) {
    siginfo_t info{};
    (void)::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);  // without the lock
  }
  return *exit;
}

void process::state::kill_group(int number) {
  const std::lock_guard lock(mutex);
  if (exit) return;  // its number may be somebody else's by now
  (void)::kill(-pid, number);
  (void)::kill(pid, number);
}

process::process(std::shared_ptr<state> s) : state_(std::move(s)) {}
process::process(process&&) noexcept = default;
process& process::operator=(process&& other) noexcept {
  if (this != &other) {
    if (state_) state_->kill_group(SIGKILL);
    state_ = std::move(other.state_);
  }
  return *this;
}
process::~process() {
  if (state_) state_->kill_group(SIGKILL);
}

pid_t process::pid() const {
  return state_->pid;
}
bool process::running() {
  return !state_->finished();
}
void process::signal(int number) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->exit) (void)::kill(state_->pid, number);
}
int process::wait() {
  return state_->wait();
}

int process::stop(std::chrono::milliseconds grace) {
  signal(SIGTERM);
  if (!wait_until([this] { return state_->finished(); }, grace)) state_->kill_group(SIGKILL);
  return wait();
}

std::string process::log() const {
  std::ostringstream text;
  text << std::ifstream(state_->log).rdbuf();
  return text.str();
}
const std::filesystem::path& process::log_path() const {
  return state_->log;
}

bool process::wait_for_log(const std::string& text, std::chrono::milliseconds within) {
  return wait_until([&] { return log().find(text) != std::string::npos; }, within);
}

}  // namespace understudy::test
