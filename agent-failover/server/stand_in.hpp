#pragma once

// The applications of one server on its copy. Threads: one at a time (the server's worker); control() on
// another one beside it; the const functions: any.

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/server/copy_layout.hpp"
#include "understudy/v1/application.pb.h"
#include "understudy/v1/server.pb.h"

namespace understudy::application {
class application_set;
struct application_definition;
}  // namespace understudy::application

namespace understudy::server {

// How a server's applications run here: the primary's commands, with the copy presented as the server says
// (bound at the original paths, or through the environment).
std::vector<application::application_definition> stand_in_definitions(const v1::ServerSpec& spec,
                                                                      const copy_layout& layout,
                                                                      const std::string& application_dir);

class stand_in {
 public:
  stand_in(const v1::ServerSpec& spec, const copy_layout& layout, std::string application_dir,
           std::function<void()> on_change);
  ~stand_in();

  // `spec` is this server's with other databases. Nothing runs.
  absl::Status adopt(const v1::ServerSpec& spec);
  // Finds again what an earlier life of the daemon started. Idempotent.
  absl::Status open();
  // Answers when each application has been executed and its check succeeded.
  absl::Status start(std::chrono::milliseconds timeout);
  absl::Status stop(std::chrono::milliseconds timeout);
  absl::Status control(const std::string& application, v1::ApplicationCommand what);

  std::vector<v1::ApplicationStatus> status() const;
  // Some process runs, or is to be started again.
  bool up() const;
  // All run, and serve as far as their checks tell; else the first that does not, with its last event.
  absl::Status healthy() const;
  // What its version command prints here, its first line. Runs it, 10 s at most; any thread.
  absl::StatusOr<std::string> version(const std::string& application);

 private:
  const std::string server_;
  const copy_layout layout_;
  const std::string application_dir_;
  const std::function<void()> on_change_;
  std::shared_ptr<application::application_set> set() const;

  std::mutex opening_;
  v1::ServerSpec spec_;  // under opening_
  mutable std::mutex mutex_;
  std::shared_ptr<application::application_set> set_;
};

}  // namespace understudy::server
