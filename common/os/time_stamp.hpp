#pragma once

#include <chrono>
#include <string>

namespace understudy::os {

// "20261122T023000Z": in UTC and whole seconds, fit for a name in a directory, where it sorts by time.
std::string time_stamp(std::chrono::system_clock::time_point time);

}  // namespace understudy::os
