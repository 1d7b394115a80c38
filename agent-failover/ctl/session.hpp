#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/ctl/ctl_config.hpp"
#include "agent-failover/ctl/exit_code.hpp"
#include "agent-failover/ctl/rpc_client.hpp"
#include "agent-failover/ctl/terminal.hpp"

namespace CLI {
class App;
}

namespace understudy::ctl {

class session;

// What a verb does once the command line was read: how it ended well, or the error to report.
using verb_result = absl::StatusOr<exit_code>;
using verb_body = std::function<verb_result()>;

// The options every verb takes.
struct global_options {
  std::string host;              // --host
  std::string ca;                // --ca
  bool insecure = false;         // --insecure
  std::string output = "table";  // -o
  std::string timeout;           // --timeout, as written
  bool json() const { return output == "json"; }
};

// One run of the program: options, terminal and the connection. Used by one thread.
class session {
 public:
  explicit session(environment variable) : variable_(std::move(variable)), screen_(variable_) {}

  global_options options;

  terminal& screen() { return screen_; }
  bool json() const { return options.json(); }

  // The verb that the command line named; the parser sets it, run_verb() runs it.
  void choose(verb_body body) { body_ = std::move(body); }
  verb_result run_verb();

  // --timeout, or nothing.
  std::optional<std::chrono::milliseconds> timeout() const { return timeout_; }

  // Where the failover host is, for messages.
  absl::StatusOr<std::string> host();
  std::string config_file() const { return config_path(variable_); }

  // One call. `patience` is used unless --timeout says otherwise.
  template <class Response>
  absl::StatusOr<Response> ask(const google::protobuf::Message& request,
                               std::chrono::milliseconds patience = PATIENCE) {
    Response response;
    if (auto status = call(request, &response, timeout_.value_or(patience)); !status.ok()) return status;
    return response;
  }
  absl::Status call(const google::protobuf::Message& request, google::protobuf::Message* response,
                    std::chrono::milliseconds deadline);
  // A stream, without a deadline of its own.
  absl::StatusOr<std::unique_ptr<rpc_stream>> open(const google::protobuf::Message& request);

  // Writes one JSON document, or one line of NDJSON, to stdout.
  absl::Status print_document(const google::protobuf::Message& message);
  absl::Status print_line(const google::protobuf::Message& message);

  // Sleeps; CANCELLED at SIGINT.
  static absl::Status pause(std::chrono::milliseconds period);

  static constexpr std::chrono::milliseconds PATIENCE{30'000};        // a host under load answers well within
  static constexpr std::chrono::milliseconds LONG_PATIENCE{120'000};  // tests that read whole databases

 private:
  absl::Status connect();

  environment variable_;
  terminal screen_;
  verb_body body_;
  std::optional<ctl_config> config_;
  std::optional<std::chrono::milliseconds> timeout_;
  std::unique_ptr<rpc_client> client_;
};

}  // namespace understudy::ctl
