#include "agent-primary/service/boot_moment.hpp"

#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace understudy::service {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

lease::time_point boot_time_now() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return lease::time_point(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

bool boot_memory::decided_in_this_boot() const {
  std::ifstream file(state_dir_ + "/boot");
  std::string id;
  return (file >> id) && id == boot_id();
}

void boot_memory::note_decided() {
  std::ofstream(state_dir_ + "/boot") << boot_id() << "\n";
}

std::optional<lease::time_point> boot_memory::lease_end() const {
  std::ifstream file(state_dir_ + "/lease-end");
  std::string id;
  std::int64_t nanoseconds = 0;
  if (!(file >> id >> nanoseconds) || id != boot_id()) return std::nullopt;
  return lease::time_point(std::chrono::nanoseconds(nanoseconds));
}

void boot_memory::keep_lease_end(std::optional<lease::time_point> end) {
  const std::string path = state_dir_ + "/lease-end";
  if (!end) {
    ::unlink(path.c_str());
    return;
  }
  std::ofstream(path + ".new")
      << boot_id() << " "
      << std::chrono::duration_cast<std::chrono::nanoseconds>(end->time_since_epoch()).count() << "\n";
  std::rename((path + ".new").c_str(), path.c_str());
}

}  // namespace understudy::service
