// understudy-lab: the lab from a shell.

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>

#include "common/os/unique_fd.hpp"
#include "tests/support/lab/command.hpp"
#include "tests/support/lab/lab.hpp"

namespace understudy::test {
namespace {

constexpr const char* usage =
    "usage: understudy-lab --host NAME=ADDRESS[,ADDRESS...] ... [--gateway ADDRESS[,ADDRESS]] [-- "
    "COMMAND...]\n"
    "  makes a small network, runs COMMAND (default: a shell) beside it, and removes it when COMMAND ends.\n"
    "within COMMAND:\n"
    "  understudy-lab on HOST PROGRAM...     runs it there, with this terminal\n"
    "  understudy-lab start HOST PROGRAM...  in the background; prints its pid and its log file\n"
    "  understudy-lab hosts | root HOST      what there is; where its private directories lie\n"
    "  understudy-lab power-off|power-on|freeze|thaw|cut|restore HOST\n"
    "  understudy-lab cut-between|restore-between HOST HOST | cut-one-way FROM TO\n";
constexpr const char* socket_variable = "UNDERSTUDY_LAB";
constexpr std::size_t longest_message = 64 * 1024;
constexpr char separator = '\0';

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from < text.size();) {
    const auto to = std::min(text.find(by, from), text.size());
    parts.push_back(text.substr(from, to - from));
    from = to + 1;
  }
  return parts;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail(path + " is too long for a socket");
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// One request, one answer, both one packet: words separated by NUL; the answer is "ok TEXT" or "no TEXT".
class control {
 public:
  explicit control(lab& net) : net_(net) {}

  std::string answer(const std::vector<std::string>& words) {
    try {
      return "ok " + perform(words);
    } catch (const std::exception& error) {
      return fmt::format("no {}", error.what());
    }
  }

 private:
  std::string perform(const std::vector<std::string>& words) {
    if (words.empty()) fail("no command");
    const std::string& verb = words[0];
    if (verb == "hosts") return list();
    if (words.size() < 2) fail("which host?");
    host& first = net_[words[1]];
    if (verb == "start") return start(first, {words.begin() + 2, words.end()});
    if (verb == "root") return first.root().string() + "\n";
    if (verb == "init-pid") return std::to_string(first.init_pid());
    if (verb == "power-off") return done([&] { first.power_off(); });
    if (verb == "power-on") return done([&] { first.power_on(); });
    if (verb == "freeze") return done([&] { first.freeze(); });
    if (verb == "thaw") return done([&] { first.thaw(); });
    if (verb == "cut") return done([&] { first.cut(); });
    if (verb == "restore") return done([&] { first.restore(); });
    if (words.size() < 3) fail("unknown command, or a host is missing: " + verb);
    if (verb == "cut-between") return done([&] { net_.cut_between(words[1], words[2]); });
    if (verb == "restore-between") return done([&] { net_.restore_between(words[1], words[2]); });
    if (verb == "cut-one-way") return done([&] { net_.cut_one_way(words[1], words[2]); });
    fail("unknown command " + verb);
  }
  static std::string done(const std::function<void()>& action) {
    action();
    return {};
  }
  std::string start(host& where, const std::vector<std::string>& argv) {
    programs_.push_back(where.spawn(argv));
    return fmt::format("{} {}\n", programs_.back().pid(), programs_.back().log_path().string());
  }
  std::string list() {
    std::string text;
    for (host* one : net_.hosts())
      text += fmt::format("{:20} {:4} {:40} {} processes\n", one->name(), one->powered() ? "on" : "off",
                          one->namespace_name(), one->processes().size());
    return text;
  }

  lab& net_;
  std::vector<process> programs_;  // end with the lab
};

int serve(const lab_options& options, std::vector<std::string> command) {
  become_root();
  lab net(options);
  const std::string path = (net.directory() / "control").string();
  const sockaddr_un address = address_of(path);
  const os::unique_fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!listener ||
      ::bind(listener.value(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.value(), 16) != 0)
    fail_errno("listen at " + path, errno);

  ::setenv(socket_variable, path.c_str(), 1);
  if (command.empty()) {
    std::fputs(usage, stderr);
    const char* shell = std::getenv("SHELL");
    command = {shell != nullptr ? shell : "/bin/sh"};
  }
  ::signal(SIGINT, SIG_IGN);  // meant for the command, which decides when all of this ends
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGINT, SIG_DFL);
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    std::perror(argv[0]);
    ::_exit(127);
  }
  control commands(net);
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    pollfd waiting{listener.value(), POLLIN, 0};
    if (::poll(&waiting, 1, 50) <= 0) continue;
    const os::unique_fd client(::accept4(listener.value(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string words(longest_message, '\0');
    const ssize_t got = ::recv(client.value(), words.data(), words.size(), 0);
    if (got <= 0) continue;
    words.resize(static_cast<std::size_t>(got));
    const std::string answer = commands.answer(split(words, separator));
    (void)::send(client.value(), answer.data(), std::min(answer.size(), longest_message), MSG_NOSIGNAL);
  }
  return exit_status_of(status);
}

std::string ask(const std::string& path, const std::vector<std::string>& words) {
  const sockaddr_un address = address_of(path);
  const os::unique_fd server(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!server || ::connect(server.value(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail_errno("reach the lab at " + path, errno);
  std::string message;
  for (const std::string& word : words) message += word + separator;
  if (::send(server.value(), message.data(), message.size(), MSG_NOSIGNAL) < 0)
    fail_errno("ask the lab", errno);
  std::string answer(longest_message, '\0');
  const ssize_t got = ::recv(server.value(), answer.data(), answer.size(), 0);
  if (got < 3) fail("the lab did not answer");
  answer.resize(static_cast<std::size_t>(got));
  if (answer.rfind("ok ", 0) != 0) throw std::runtime_error(answer.substr(3));
  return answer.substr(3);
}

int command_on(const std::string& path, const std::vector<std::string>& words) {
  if (words.size() < 3) fail("on which host, and what?");
  const std::string pid = ask(path, {"init-pid", words[1]});
  if (pid == "-1") fail(words[1] + " is switched off");
  std::vector<std::string> command = {"nsenter", "--target", pid, "--net", "--mount", "--pid", "--uts", "--"};
  command.insert(command.end(), words.begin() + 2, words.end());
  std::vector<char*> argv;
  for (std::string& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  fail_errno("run nsenter", errno);
}

int run(const std::vector<std::string>& words) {
  if (!words.empty() && words[0].rfind("--", 0) != 0) {
    const char* path = std::getenv(socket_variable);
    if (path == nullptr) fail("not within a lab; see understudy-lab --help");
    if (words[0] == "on") return command_on(path, words);
    std::fputs(ask(path, words).c_str(), stdout);
    return 0;
  }
  lab_options options;
  std::size_t i = 0;
  for (; i + 1 < words.size() && words[i] != "--"; i += 2) {
    const auto equals = words[i + 1].find('=');
    if (words[i] == "--gateway")
      options.gateway = split(words[i + 1], ',');
    else if (words[i] == "--host" && equals != std::string::npos)
      options.hosts.push_back(
          {.name = words[i + 1].substr(0, equals), .addresses = split(words[i + 1].substr(equals + 1), ',')});
    else
      break;
  }
  const bool understood = i == words.size() || words[i] == "--";
  if (!understood || options.hosts.empty()) {
    std::fputs(usage, stderr);
    return 2;
  }
  return serve(options,
               i < words.size()
                   ? std::vector<std::string>(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end())
                   : std::vector<std::string>{});
}

}  // namespace
}  // namespace understudy::test

int main(int argc, char** argv) {
  try {
    return understudy::test::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
