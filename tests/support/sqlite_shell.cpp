#include "tests/support/sqlite_shell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace understudy::test {
namespace {

constexpr char end_of_answer[] = "--end of answer--\n";

void must(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::abort();
}

}  // namespace

sqlite_shell::sqlite_shell(const std::string& database) {
  int in[2];  // a socket, so that writing to a program that has ended is an error and no signal
  int out[2];
  must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0, "socketpair");
  must(::pipe2(out, O_CLOEXEC) == 0, "pipe");
  const os::unique_fd its_in(in[0]);
  const os::unique_fd its_out(out[1]);
  in_.reset(in[1]);
  out_.reset(out[0]);
  ::posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, its_in.value(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, its_out.value(), STDOUT_FILENO);
  const char* const argv[] = {"sqlite3", "-batch", "-bail", database.c_str(), nullptr};
  const int error =
      ::posix_spawnp(&pid_, argv[0], &actions, nullptr, const_cast<char* const*>(argv), ::environ);
  ::posix_spawn_file_actions_destroy(&actions);
  errno = error;
  must(error == 0, "sqlite3");
}

sqlite_shell::~sqlite_shell() {
  kill();
}

std::optional<std::string> sqlite_shell::run(const std::string& statements,
                                             std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  // It reads while it works, and what it prints in between is far below the pipe's capacity.
  const std::string text = statements + "\n;\n.print " + end_of_answer;
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t n = ::send(in_.value(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n < 0) return std::nullopt;
    sent += static_cast<std::size_t>(n);
  }
  std::string answer;
  while (!answer.ends_with(end_of_answer)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    ::pollfd waiting{out_.value(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) == 0) return std::nullopt;
    char buffer[4096];
    const ssize_t n = ::read(out_.value(), buffer, sizeof buffer);
    if (n == 0 || (n < 0 && errno != EINTR)) return std::nullopt;
    if (n > 0) answer.append(buffer, static_cast<std::size_t>(n));
  }
  answer.resize(answer.size() - (sizeof end_of_answer - 1));
  return answer;
}

void sqlite_shell::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

bool sqlite_shell::close() {
  in_.reset();
  int status = -1;
  if (pid_ > 0) ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::optional<std::string> through_sqlite(const std::string& database, const std::string& statements) {
  sqlite_shell shell(database);
  auto answer = shell.run(statements);
  if (!shell.close()) return std::nullopt;
  return answer;
}

}  // namespace understudy::test
