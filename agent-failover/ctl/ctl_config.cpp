#include "agent-failover/ctl/ctl_config.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "agent-failover/ctl/typo.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::ctl {

namespace {

const std::vector<std::string> KEYS{"host", "token", "ca", "server_name", "insecure"};

absl::Status at(const std::string& path, const toml::source_region& where, const std::string& reason) {
  return absl::InvalidArgumentError(
      fmt::format("{}:{}:{}: {}", path, where.begin.line, where.begin.column, reason));
}

absl::Status read_string(const toml::node& node, const std::string& path, const std::string& key,
                         std::string* out) {
  const auto value = node.value<std::string>();
  if (!value) return at(path, node.source(), fmt::format("{} must be a string", key));
  *out = *value;
  return absl::OkStatus();
}

absl::Status read_key(const toml::node& node, const std::string& path, const std::string& key,
                      ctl_config* config) {
  if (key == "host") return read_string(node, path, key, &config->host);
  if (key == "token") return read_string(node, path, key, &config->token);
  if (key == "ca") return read_string(node, path, key, &config->ca);
  if (key == "server_name") return read_string(node, path, key, &config->server_name);
  if (key == "insecure") {
    const auto value = node.value<bool>();
    if (!value) return at(path, node.source(), "insecure must be true or false");
    config->insecure = *value;
    return absl::OkStatus();
  }
  const auto meant = nearest(key, KEYS);
  return at(path, node.source(),
            fmt::format("there is no key \"{}\"{}", key,
                        meant ? fmt::format("; did you mean \"{}\"?", *meant) : "; known: host, token, ca"));
}

absl::Status read_file(const std::string& path, ctl_config* config) {
  std::ifstream file{path};
  if (!file)
    return errno == ENOENT || errno == ENOTDIR ? absl::OkStatus() : errno_status(errno, "open", path);
  std::ostringstream text;
  text << file.rdbuf();
  try {
    const auto table = toml::parse(text.str(), path);
    for (const auto& [key, node] : table) {
      UNDERSTUDY_RETURN_IF_ERROR(read_key(node, path, std::string{key.str()}, config));
    }
  } catch (const toml::parse_error& error) {
    return at(path, error.source(), std::string{error.description()});
  }
  return absl::OkStatus();
}

std::string quoted(const std::string& text) {
  std::string toml = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') toml += '\\';
    toml += c;
  }
  return toml + '"';
}

bool is_token_line(std::string_view line) {
  while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
  if (!line.starts_with("token")) return false;
  line.remove_prefix(5);
  while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
  return line.starts_with('=');
}

}  // namespace

std::string config_path(const environment& variable) {
  if (const auto named = variable("UNDERSTUDY_CTL_CONFIG")) return *named;
  if (const auto xdg = variable("XDG_CONFIG_HOME"); xdg && !xdg->empty())
    return *xdg + "/understudy/ctl.toml";
  if (const auto home = variable("HOME"); home && !home->empty())
    return *home + "/.config/understudy/ctl.toml";
  return "";
}

absl::StatusOr<ctl_config> load_config(const std::string& path, const environment& variable) {
  ctl_config config;
  if (!path.empty()) UNDERSTUDY_RETURN_IF_ERROR(read_file(path, &config));
  if (const auto host = variable("UNDERSTUDY_HOST"); host && !host->empty()) config.host = *host;
  if (const auto token = variable("UNDERSTUDY_TOKEN"); token && !token->empty()) config.token = *token;
  if (const auto ca = variable("UNDERSTUDY_CA"); ca && !ca->empty()) config.ca = *ca;
  if (const auto insecure = variable("UNDERSTUDY_INSECURE"); insecure && *insecure == "1")
    config.insecure = true;
  return config;
}

std::string with_token(std::string text, const std::string& token) {
  const auto line = "token = " + quoted(token) + "\n";
  std::size_t begin = 0;
  while (begin < text.size()) {
    auto end = text.find('\n', begin);
    end = end == std::string::npos ? text.size() : end + 1;
    if (is_token_line(std::string_view{text}.substr(begin, end - begin)))
      return text.replace(begin, end - begin, line);
    begin = end;
  }
  return line + text;
}

absl::Status store_token(const std::string& path, const std::string& token) {
  if (path.empty()) return absl::FailedPreconditionError("HOME is not set: there is no place for the token");
  std::error_code error;
  const auto directory = std::filesystem::path{path}.parent_path();
  if (!directory.empty()) std::filesystem::create_directories(directory, error);
  if (error) return errno_status(error.value(), "mkdir", directory.string());
  std::ostringstream text;
  if (std::ifstream file{path}) text << file.rdbuf();
  const auto wanted = with_token(text.str(), token);

  const auto temporary = path + fmt::format(".{}", ::getpid());
  os::unique_fd fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!fd) return errno_status(errno, "create", temporary);
  const auto give_up = [&](const char* operation) {
    const auto status = errno_status(errno, operation, temporary);
    ::unlink(temporary.c_str());
    return status;
  };
  for (std::size_t done = 0; done < wanted.size();) {
    const auto written = ::write(fd.value(), wanted.data() + done, wanted.size() - done);
    if (written < 0 && errno != EINTR) return give_up("write");
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  if (::fsync(fd.value()) != 0) return give_up("fsync");
  if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up("rename");
  return absl::OkStatus();
}

bool is_loopback(const std::string& host) {
  const auto name =
      host.starts_with('[') ? host.substr(0, host.find(']') + 1) : host.substr(0, host.rfind(':'));
  return name == "localhost" || name == "[::1]" || name.starts_with("127.") || host.starts_with("unix:");
}

absl::StatusOr<std::string> normalized_host(const std::string& host) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not ADDRESS:PORT: give for example 10.0.0.9:7200 or [fd00::9]:7200", host));
  };
  if (host.starts_with("unix:")) return host;
  if (host.empty() || host.find_first_of(" /\t") != std::string::npos) return wrong();
  if (!host.starts_with('[') && std::count(host.begin(), host.end(), ':') > 1) return "[" + host + "]:7200";
  const auto bracket = host.starts_with('[') ? host.find(']') : 0;
  if (bracket == std::string::npos) return wrong();
  const auto colon = host.find(':', bracket);
  if (colon == std::string::npos) return host + ":7200";
  const auto port = host.substr(colon + 1);
  const bool number =
      !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (colon == 0 || !number || std::stoi(port) == 0 || std::stoi(port) > 65535) return wrong();
  return host;
}

}  // namespace understudy::ctl
