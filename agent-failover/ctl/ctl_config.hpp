#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::ctl {

// Which failover host, and how to speak to it. From, each before the next: the command line, the environment,
// the file, the default. The token never comes from the command line, where every user of the machine reads
// it.
struct ctl_config {
  std::string host = "127.0.0.1:7200";
  std::string token;
  std::string ca;           // path of the failover host's CA certificate; empty: no TLS
  std::string server_name;  // the name in its certificate, when it is not the host's
  bool insecure = false;    // true: a token may travel in plain text beyond loopback
};

// Looks up an environment variable; nullopt when not set.
using environment = std::function<std::optional<std::string>(const std::string&)>;

// $XDG_CONFIG_HOME/understudy/ctl.toml, or ~/.config/understudy/ctl.toml. UNDERSTUDY_CTL_CONFIG names
// another.
std::string config_path(const environment& variable);

// The file, where there is one, with UNDERSTUDY_HOST, _TOKEN, _CA and _INSECURE=1 over it. INVALID_ARGUMENT
// says file:line:column and the nearest valid key.
absl::StatusOr<ctl_config> load_config(const std::string& path, const environment& variable);

// The text of a file in which `token = "..."` stands, other lines as they were.
std::string with_token(std::string text, const std::string& token);

// Stores the token in the file, readable by its owner only. The rest of the file stays.
absl::Status store_token(const std::string& path, const std::string& token);

// True when the address is this machine's loopback.
bool is_loopback(const std::string& host);

// HOST, HOST:PORT, [IPV6]:PORT, IPV6 as HOST:PORT with the default port 7200. INVALID_ARGUMENT when it is
// none of them.
absl::StatusOr<std::string> normalized_host(const std::string& host);

}  // namespace understudy::ctl
