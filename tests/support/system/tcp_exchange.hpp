#pragma once

// One question over one TCP connection, as a client that does not wait for a server that is gone.

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::test {

struct tcp_patience {
  std::chrono::milliseconds connect{150};  // a server that is there takes well under 1 ms
  std::chrono::milliseconds answer{1000};
};

// Connects to `address` ("10.0.0.1" or "fd00::1"), sends `request` and reads until `complete` holds for what
// came, or the server closes. Nothing when it could not be sent, or nothing complete came in time.
std::optional<std::string> tcp_exchange(const std::string& address, int port, std::string_view request,
                                        const std::function<bool(std::string_view)>& complete,
                                        tcp_patience patience = {});

}  // namespace understudy::test
