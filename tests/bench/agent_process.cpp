#include "tests/bench/agent_process.hpp"

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/rpc/channel.hpp"
#include "tests/bench/figure.hpp"
#include "tests/support/wait.hpp"

namespace understudy::bench {
namespace {

constexpr std::chrono::seconds patience{60};

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double status_mib(pid_t pid, const std::string& key) {
  std::istringstream status(content_of(fmt::format("/proc/{}/status", pid)));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stod(line.substr(key.size() + 1)) / 1024;
  }
  return 0;
}

}  // namespace

agent_process::agent_process(const std::string& directory, const std::string& protects)
    : log_(directory + "/agent.log") {
  const std::string config = directory + "/agent.toml";
  std::ofstream(config) << "[server]\nname = \"bench\"\nlisten = \"127.0.0.1:0\"\nstate_dir = \"" << directory
                        << "/state\"\n"
                        << protects;
  std::filesystem::remove(log_);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);  // a measurement that is given up destroys nothing
    const int log = ::open(log_.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    ::dup2(log, 1);
    ::dup2(log, 2);
    ::execl(UNDERSTUDY_AGENT, UNDERSTUDY_AGENT, "--config", config.c_str(), nullptr);
    ::_exit(127);
  }
  const std::string announcement = "serves on port ";
  wait_for_log(announcement);
  const std::string text = content_of(log_);
  port_ = std::stoi(text.substr(text.find(announcement) + announcement.size()));
  channel_ = rpc::make_channel(fmt::format("127.0.0.1:{}", port_));
}

agent_process::~agent_process() {
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
}

void agent_process::wait_for_log(const std::string& text) const {
  if (!test::wait_until([&] { return content_of(log_).find(text) != std::string::npos; }, patience))
    give_up(fmt::format("the agent does not say \"{}\":\n{}", text, content_of(log_)));
}

double agent_process::resident_mib() const {
  return status_mib(pid_, "VmRSS");
}

double agent_process::peak_resident_mib() const {
  return status_mib(pid_, "VmHWM");
}

int agent_process::writable_descriptors(const std::string& path) const {
  int found = 0;
  std::error_code gone;  // descriptors come and go meanwhile
  for (const auto& one : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid_), gone)) {
    if (!std::filesystem::read_symlink(one.path(), gone).native().starts_with(path)) continue;
    std::istringstream info(
        content_of(fmt::format("/proc/{}/fdinfo/{}", pid_, one.path().filename().native())));
    std::string word;
    while (info >> word && word != "flags:") {
    }
    unsigned flags = 0;
    if (info >> std::oct >> flags && (flags & O_ACCMODE) != O_RDONLY) ++found;
  }
  return found;
}

}  // namespace understudy::bench
