#include "common/rpc/service_notice.hpp"

#include <fmt/core.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include <algorithm>
#include <string>

namespace understudy::rpc::service_notice {

void ready() {
  sd_notify(0, "READY=1");
}

void status(std::string_view text) {
  std::string line = fmt::format("STATUS={}", text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  sd_notify(0, line.c_str());
}

void reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  sd_notify(
      0,
      fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1'000'000LL + now.tv_nsec / 1000).c_str());
}

void stopping() {
  sd_notify(0, "STOPPING=1");
}

void alive() {
  sd_notify(0, "WATCHDOG=1");
}

std::chrono::milliseconds alive_interval() {
  std::uint64_t interval_us = 0;
  if (sd_watchdog_enabled(0, &interval_us) <= 0) return std::chrono::milliseconds{0};
  return std::chrono::milliseconds{std::max<std::uint64_t>(1, interval_us / 2000)};
}

}  // namespace understudy::rpc::service_notice
