#include "agent-failover/ctl/session.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <thread>

#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "agent-failover/ctl/json_text.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::ctl {

verb_result session::run_verb() {
  if (!options.timeout.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(timeout_, parse_duration(options.timeout));
    if (timeout_ == std::chrono::milliseconds{0})
      return absl::InvalidArgumentError("--timeout must be more than 0");
  }
  return body_();
}

absl::StatusOr<std::string> session::host() {
  if (!config_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto config, load_config(config_file(), variable_));
    if (!options.host.empty()) config.host = options.host;
    if (!options.ca.empty()) config.ca = options.ca;
    if (options.insecure) config.insecure = true;
    UNDERSTUDY_ASSIGN_OR_RETURN(config.host, normalized_host(config.host));
    config_ = std::move(config);
  }
  return config_->host;
}

absl::Status session::connect() {
  if (client_) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto address, host());
  if (config_->ca.empty() && !is_loopback(address) && !config_->insecure) {
    return with_hint(
        with_hint(absl::InvalidArgumentError(fmt::format(
                      "{} is another machine, and there is no certificate to check it by", address)),
                  "give the failover host's CA certificate: --ca FILE, UNDERSTUDY_CA, or `ca` in ctl.toml"),
        "in a lab, in plain text: --insecure, or `insecure = true` in ctl.toml");
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(client_, make_rpc_client(*config_));
  return absl::OkStatus();
}

absl::Status session::call(const google::protobuf::Message& request, google::protobuf::Message* response,
                           std::chrono::milliseconds deadline) {
  UNDERSTUDY_RETURN_IF_ERROR(connect());
  return client_->call(request, response, deadline);
}

absl::StatusOr<std::unique_ptr<rpc_stream>> session::open(const google::protobuf::Message& request) {
  UNDERSTUDY_RETURN_IF_ERROR(connect());
  return client_->open(request, rpc_client::NO_DEADLINE);
}

absl::Status session::pause(std::chrono::milliseconds period) {
  const auto end = std::chrono::steady_clock::now() + period;
  while (!interrupted() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::min<std::chrono::milliseconds>(period, std::chrono::milliseconds{50}));
  }
  return interrupted() ? absl::CancelledError("interrupted") : absl::OkStatus();
}

absl::Status session::print_document(const google::protobuf::Message& message) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto text, json_document(message));
  screen_.out(text);
  return absl::OkStatus();
}

absl::Status session::print_line(const google::protobuf::Message& message) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto text, json_line(message));
  screen_.out(text);
  // A reader at the other end of a pipe wants each line as it happens.
  screen_.flush();
  return absl::OkStatus();
}

}  // namespace understudy::ctl
