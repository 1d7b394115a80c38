#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "tests/support/lab/command.hpp"
#include "tests/support/lab/lab.hpp"

namespace understudy::test {
namespace {

constexpr unsigned long long needed = 1ULL << 21 | 1ULL << 12;  // CAP_SYS_ADMIN, CAP_NET_ADMIN

unsigned long long effective_capabilities() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.rfind("CapEff:", 0) == 0) return std::stoull(line.substr(7), nullptr, 16);
  return 0;
}

void write_map(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) fail(std::string("cannot write ") + path);
}

}  // namespace

void become_root() {
  if (::geteuid() == 0 && (effective_capabilities() & needed) == needed) return;
  const auto user = ::geteuid();
  const auto group = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0)
    fail_errno("neither root nor allowed to make a user namespace (sysctl kernel.unprivileged_userns_clone)",
               errno);
  write_map("/proc/self/setgroups", "deny");
  write_map("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
  write_map("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
  if (::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/run", "tmpfs", 0, "mode=755") != 0)  // `ip netns` keeps its names there
    fail_errno("mount /run", errno);
}

}  // namespace understudy::test
