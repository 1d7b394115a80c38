#pragma once

// Lets a host's adapter drop, before anything sees them, all frames from certain MACs (XDP): one direction of
// a cut between two hosts that leaves links and other hosts alone.

#include <string>
#include <vector>

#include "common/os/unique_fd.hpp"

namespace understudy::test {

// Call inside the host's network namespace. Ends with the descriptor. Empty when the kernel does not let us
// (no real root).
os::unique_fd drop_frames_from(const std::string& interface, const std::vector<std::string>& macs);

}  // namespace understudy::test
