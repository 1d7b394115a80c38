#pragma once

// What the API can ask the daemon to do. The API knows nothing of actors: root implements this, tests fake
// it. Every call may block for as long as it says and may come from any thread.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "understudy/v1/gate.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::api {

enum class verb {
  suspend,
  resume,
  stop,
  start,
  failover,
  stop_failover,
  failback,
  replicate_from_live,
  replicate_to_live,
  verify,
  cancel,  // the running operation
};

// One request to one server.
struct command {
  verb what = verb::suspend;
  std::string server;
  std::string actor = "operator";  // who asks
  std::string reason;
  bool dry_run = false;
  bool force = false;  // failover: without asking the primary
  v1::DivergedChoice choice = v1::DIVERGED_CHOICE_UNSPECIFIED;
  std::optional<std::chrono::seconds> period;  // suspend, stop
};

// A past moment of a database that is wanted as a file.
struct restore_request {
  std::string server;
  std::string catalog;
  std::chrono::system_clock::time_point at;
  std::string to;  // as the operator wrote it
  std::string actor = "operator";
  bool dry_run = false;
};

struct command_result {
  absl::Status status;
  std::string effect;     // what happens, or would happen, in words
  std::string operation;  // name of the operation it began; empty: done already
};

class control {
 public:
  virtual ~control() = default;

  // Decides and, unless it is a dry run, begins. Long actions go on as operations.
  virtual command_result run(const command& request) = 0;

  // The same for a past moment of a database.
  virtual command_result restore(const restore_request& request) = 0;
  // Ends an operation that is none of the machine's: false when it is not one of those.
  virtual bool cancel(const std::string& operation) = 0;
  // What of a server's databases can be restored.
  virtual absl::StatusOr<std::vector<v1::DatabaseHistory>> history(const std::string& server) = 0;
  // What lies in the trash of a server's file trees.
  virtual absl::StatusOr<v1::ListDeletedFilesResponse> deleted_files(
      const v1::ListDeletedFilesRequest& request) = 0;
  // Writes one of them to a file of this host and says so, in words. `actor`: who asks. `go_on` is asked now
  // and then.
  virtual absl::StatusOr<std::string> restore_deleted_file(const v1::RestoreDeletedFileRequest& request,
                                                           const std::string& actor,
                                                           const std::function<bool()>& go_on) = 0;

  virtual absl::Status add_server(const v1::ServerSpec& spec) = 0;
  // kAborted: the etag is not that of the present specification.
  virtual absl::Status update_server(const v1::ServerSpec& spec) = 0;
  virtual absl::Status remove_server(const std::string& name, bool delete_copy) = 0;
  virtual std::vector<v1::ServerSpec> servers() const = 0;

  virtual v1::Settings settings() const = 0;
  virtual absl::Status update_settings(const v1::Settings& settings) = 0;

  // `limit` stands in for the request's.
  virtual absl::StatusOr<std::vector<v1::Event>> events(const v1::ListEventsRequest& request,
                                                        std::uint32_t limit) = 0;
  // What the server is doing, why and what comes next (text and transitions; the state is not filled in).
  virtual absl::Status explain(const std::string& server, v1::ExplainResponse& response) = 0;
  // The copy's side and the primary's side of a server's applications.
  virtual absl::StatusOr<std::vector<v1::ApplicationStatus>> command_application(
      const std::string& server, const std::string& application, v1::ApplicationCommand what) = 0;
  // The durable record of who may run.
  virtual v1::AskToRunResponse ask_to_run(const v1::AskToRunRequest& request) = 0;
};

}  // namespace understudy::api
