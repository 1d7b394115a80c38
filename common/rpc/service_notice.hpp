#pragma once

// What a daemon tells systemd (sd_notify). Without NOTIFY_SOCKET every call does nothing. Any thread.

#include <chrono>
#include <string_view>

namespace understudy::rpc::service_notice {

void ready();
// One line for `systemctl status`.
void status(std::string_view text);
void reloading();  // ready() ends it
void stopping();
void alive();  // feeds the watchdog

// How often alive() must be called: half of WatchdogSec; zero when there is no watchdog.
std::chrono::milliseconds alive_interval();

}  // namespace understudy::rpc::service_notice
