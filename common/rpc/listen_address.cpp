#include "common/rpc/listen_address.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <charconv>

namespace understudy::rpc {
namespace {

absl::Status malformed(std::string_view text) {
  return absl::InvalidArgumentError(fmt::format(
      "\"{}\" is not an address to listen on; write HOST:PORT, for example \"0.0.0.0:7100\" or \"[::]:7100\"",
      text));
}

bool is_loopback(const std::string& host) {
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

}  // namespace

absl::StatusOr<listen_address> parse_listen_address(std::string_view text) {
  listen_address result;
  result.text = std::string(text);
  if (text.starts_with("unix:")) {
    result.loopback = true;
    return result;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return malformed(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return malformed(text);
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), result.port);
  if (error != std::errc() || end != port.data() + port.size() || result.port < 0 || result.port > 65535 ||
      host.empty()) {
    return malformed(text);
  }
  result.host = std::string(host);
  result.loopback = is_loopback(result.host);
  return result;
}

absl::Status check_plaintext(const listen_address& address, bool tls, bool insecure) {
  if (tls || insecure || address.loopback) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("refusing to listen on {} in plaintext, for others can reach it. Either give it "
                  "certificates (certificate, key and ca under [security]), "
                  "or, in a lab, write "
                  "insecure = true under [security]",
                  address.text));
}

}  // namespace understudy::rpc
