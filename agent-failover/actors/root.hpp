#pragma once

// The failover host as a whole: starts the actors, and is what the API controls. An actor that dies of a
// defect ends the process: everything is in state.db, and a fresh start resumes at the last open intent,
// which is the one way of recovery that is tested at every record.

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "agent-failover/actors/primary_supervisor.hpp"
#include "agent-failover/api/board.hpp"
#include "agent-failover/api/change_feed_service.hpp"
#include "agent-failover/api/control.hpp"
#include "agent-failover/server/worker.hpp"
#include "agent-failover/store/log_keeper.hpp"

namespace understudy::actors {

struct root_options {
  std::string data_dir;
  std::string host_name;
  std::string host_address;  // where agents ask at their boot gate, see supervisor_surroundings
  std::string boot_id_file = "/proc/sys/kernel/random/boot_id";
};

class root final : public api::control {
 public:
  static absl::StatusOr<std::unique_ptr<root>> start(root_options options);
  // Ends the actors; stand-ins go on running.
  ~root() override;

  api::board& board() { return board_; }

  api::command_result run(const api::command& request) override;
  api::command_result restore(const api::restore_request& request) override;
  bool cancel(const std::string& operation) override;
  absl::StatusOr<std::vector<v1::DatabaseHistory>> history(const std::string& server) override;
  absl::StatusOr<v1::ListDeletedFilesResponse> deleted_files(
      const v1::ListDeletedFilesRequest& request) override;
  absl::StatusOr<std::string> restore_deleted_file(const v1::RestoreDeletedFileRequest& request,
                                                   const std::string& actor,
                                                   const std::function<bool()>& go_on) override;
  absl::Status add_server(const v1::ServerSpec& spec) override;
  absl::Status update_server(const v1::ServerSpec& spec) override;
  absl::Status remove_server(const std::string& name, bool delete_copy) override;
  std::vector<v1::ServerSpec> servers() const override;
  v1::Settings settings() const override;
  absl::Status update_settings(const v1::Settings& settings) override;
  absl::StatusOr<std::vector<v1::Event>> events(const v1::ListEventsRequest& request,
                                                std::uint32_t limit) override;
  absl::Status explain(const std::string& server, v1::ExplainResponse& response) override;
  absl::StatusOr<std::vector<v1::ApplicationStatus>> command_application(
      const std::string& server, const std::string& application, v1::ApplicationCommand what) override;
  v1::AskToRunResponse ask_to_run(const v1::AskToRunRequest& request) override;
  // With the history of each, if one is kept.
  absl::StatusOr<std::vector<api::followed_database>> databases_of(const std::string& server) const;
  absl::StatusOr<api::followed_files> files_of(const std::string& server) const;

 private:
  class parts;
  explicit root(root_options options);
  absl::Status open();
  void spawn(const v1::ServerSpec& spec, supervisor_beginning beginning);
  void end(const std::string& name);
  absl::StatusOr<v1::ServerSpec> spec_of(const std::string& name) const;
  absl::StatusOr<supervisor_actor> find(const std::string& name) const;
  absl::StatusOr<policy::primary_state> machine_of(const std::string& name) const;
  absl::Status may_change(const std::string& name) const;
  absl::Status check_directory(const v1::ServerSpec& spec) const;
  std::string owner_of(const std::string& path) const;
  absl::Status end_quiet(const std::string& name);
  absl::Status respawn(const std::string& name);
  absl::Status commit(store::changes changes);
  absl::Status replace_spec(const v1::ServerSpec& given);
  void adopt(const std::string& name, const found_databases& found);

  const root_options options_;
  api::board board_;
  std::mutex changing_;       // one change of a specification at a time; taken before mutex_
  mutable std::mutex mutex_;  // guards what follows
  std::shared_ptr<store::state_store> store_;
  std::unique_ptr<store::log_keeper> log_keeper_;
  std::map<std::string, v1::ServerSpec> specs_;
  v1::Settings settings_;
  std::map<std::string, supervisor_actor> supervisors_;
  std::map<std::string, std::shared_ptr<told_news>> told_;  // by server
  std::unique_ptr<parts> parts_;
  std::unique_ptr<server::worker> adopter_;  // changes specifications on behalf of supervisors
};

}  // namespace understudy::actors
