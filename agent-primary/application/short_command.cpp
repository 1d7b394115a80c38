#include "agent-primary/application/short_command.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/status/errno_status.hpp"

namespace understudy::application {
namespace {

constexpr std::size_t most_output = 8 << 10;  // bytes kept; the rest is read and dropped

}  // namespace

std::string describe_exit(int code, int status) {
  if (code == CLD_EXITED) return fmt::format("exited with status {}", status);
  return fmt::format("was killed by signal {} ({})", status,
                     ::sigdescr_np(status) ? ::sigdescr_np(status) : "?");
}

short_command::~short_command() {
  *alive_ = false;
  abandon();
}

void short_command::abandon() {
  if (!running()) return;
  ::kill(-process_.pid, SIGKILL);
  loop_.unwatch(process_.descriptor.value());
  loop_.unwatch(output_.value());
  loop_.cancel(timer_);
  ::waitpid(process_.pid, nullptr, 0);
  process_ = {};
  done_ = nullptr;
}

void short_command::run(const process_setup& setup, std::chrono::milliseconds timeout, answer done) {
  text_.clear();
  timed_out_ = false;
  name_ = setup.command.empty() ? "" : setup.command[0];
  done_ = std::move(done);
  std::array<int, 2> pipe{-1, -1};
  absl::Status status;
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) status = errno_status(errno, "make a pipe for", name_);
  output_.reset(pipe[0]);
  os::unique_fd output_write(pipe[1]);
  if (status.ok()) {
    ::fcntl(output_.value(), F_SETFL, O_NONBLOCK);
    process_setup with_output = setup;
    with_output.output = output_write.value();
    absl::StatusOr<child_process> started =
        start_process(with_output, [](pid_t) { return absl::OkStatus(); });
    if (started.ok()) {
      process_ = *std::move(started);
    } else {
      status = started.status();
    }
  }
  if (!status.ok()) {
    loop_.post([this, alive = alive_, status] {
      if (*alive) finish({status, ""});
    });
    return;
  }
  loop_.watch(output_.value(), [this] { read_output(); });
  loop_.watch(process_.descriptor.value(), [this] { ended(); });
  timer_ = loop_.after(timeout, [this] {
    timed_out_ = true;
    ::kill(-process_.pid, SIGKILL);
  });
}

void short_command::read_output() {
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t got = ::read(output_.value(), buffer.data(), buffer.size());
    if (got == 0) loop_.unwatch(output_.value());
    if (got <= 0) return;
    text_.append(buffer.data(),
                 std::min(static_cast<std::size_t>(got), most_output - std::min(most_output, text_.size())));
  }
}

void short_command::ended() {
  read_output();
  ::kill(-process_.pid,
         SIGKILL);  // whatever it left in its group; before reaping, while the id is still its own
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(process_.pid), &info, WEXITED);
  loop_.unwatch(process_.descriptor.value());
  loop_.unwatch(output_.value());
  loop_.cancel(timer_);
  process_ = {};
  command_result result;
  result.output = std::move(text_);
  const std::string first_line = result.output.substr(0, result.output.find('\n'));
  if (timed_out_) {
    result.status = absl::DeadlineExceededError(fmt::format("{} did not end in time and was killed", name_));
  } else if (info.si_code != CLD_EXITED || info.si_status != 0) {
    result.status =
        absl::AbortedError(fmt::format("{} {}{}{}", name_, describe_exit(info.si_code, info.si_status),
                                       first_line.empty() ? "" : ": ", first_line));
  }
  finish(std::move(result));
}

void short_command::finish(command_result result) {
  const answer done = std::move(done_);
  done_ = nullptr;
  if (done) done(result);
}

}  // namespace understudy::application
