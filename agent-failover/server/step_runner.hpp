#pragma once

// Carries out the steps that the state machine names, for one server. A step may block; it is idempotent, for
// it is begun again after a crash of the daemon or of the machine.
//
// Threads: run() and the other functions on the server's worker only, one at a time; status functions: any.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent-failover/policy/event.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/replication.hpp"
#include "agent-failover/server/restoration.hpp"
#include "agent-failover/server/service_addresses.hpp"
#include "agent-failover/server/stand_in.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::capture {
class capture_engine;
}
namespace understudy::link {
class agent_connection;
}

namespace understudy::server {

class file_feeds;
class histories;

// What a step needs to know of the machine's state when it begins.
struct step_context {
  std::uint64_t serial = 0;  // grows with every step; cancel() refers to it
  policy::step_id which = policy::step_id::none;
  std::uint64_t epoch = 0;
  policy::cause why = policy::cause::none;
  policy::diverged_choice choice = policy::diverged_choice::none;
  bool copy_newest = false;  // a stand-in ran since the primary last had the right
};

// What came of it, ready to be handed to the state machine.
struct step_outcome {
  policy::event event;
  std::vector<store::freeze_row> frozen;  // freeze_apply: the images the stand-in begins with
  std::string note;                       // for the event history: "set aside at ..."
};

class step_runner {
 public:
  struct parts {
    os::file_system& fs;
    capture::capture_engine& capture;
    link::agent_connection& agent;
    histories* past = nullptr;    // of the copies; null: none is kept
    file_feeds* feeds = nullptr;  // null: nobody follows file changes
    std::string data_dir;
    std::string host_name;
  };
  struct callbacks {
    std::function<void()> changed;  // something that status shows changed; any thread
    service_addresses::conflict_callback conflict;
    std::function<void(bool held)>
        own_address_held;  // classic layout: the control address itself is (not) ours
  };

  step_runner(parts given, const v1::ServerSpec& spec, const v1::Settings& settings, callbacks on);

  // As the settings have it; also when they change.
  void keep_history(const v1::Settings& settings);

  absl::Status open();
  // `spec` is this server's with other databases that its agent found. Between steps, while the primary has
  // the right, and no new generation is under way.
  void adopt(const v1::ServerSpec& spec);
  step_outcome run(const step_context& context);
  // Steps up to this serial are to end soon, whether they run already or still wait for the worker; from any
  // thread.
  void cancel(std::uint64_t up_to) { cancelled_up_to_ = up_to; }

  // Probes the addresses ahead of a takeover that may come; the verdict is used if it is fresh.
  void probe_ahead(std::chrono::milliseconds time_left);
  // What must hold again after a restart of the daemon under a running stand-in.
  void adopt_running(bool addresses_held, std::vector<store::freeze_row> frozen);
  bool stand_in_is_up() const { return stand_in_.up(); }

  replication& copies() { return copies_; }
  const replication& copies() const { return copies_; }
  stand_in& applications() { return stand_in_; }
  const stand_in& applications() const { return stand_in_; }
  restoration_progress way_back() const;

 private:
  absl::Status dispatch(const step_context& context, step_outcome& outcome);
  absl::Status stop_primary(const step_context& context);
  absl::Status fence(const step_context& context);
  // `addresses`: also until it has given the service addresses back.
  absl::Status await_primary_down(std::chrono::milliseconds timeout, bool addresses = true);
  absl::Status freeze(const step_context& context, step_outcome& outcome);
  absl::Status probe();
  absl::Status add_addresses();
  absl::Status release_addresses();
  absl::Status start_application();
  absl::Status check_application();
  absl::Status stop_application();
  absl::Status hook(const google::protobuf::RepeatedPtrField<std::string>& command, const char* name);
  absl::Status grant(const step_context& context, bool start_applications);
  absl::Status check_primary_whole(const step_context& context);
  absl::Status check_divergence(const step_context& context);
  absl::StatusOr<v1::DescribeResponse> describe_when_read();
  absl::Status await_agent();
  absl::Status reverse_heal(const step_context& context);
  absl::Status open_way_back(const step_context& context);
  absl::Status await_way_back();
  absl::Status drain(const step_context& context);
  absl::Status set_aside(const step_context& context, step_outcome& outcome);
  absl::Status set_aside_what_had_no_copy(const step_context& context);
  absl::StatusOr<std::vector<std::string>> adopt(const step_context& context);
  void drop_way_back();
  bool cancelled() const { return running_ <= cancelled_up_to_; }
  void drop_way_back_of(policy::step_id which);
  v1::HoldLeaseRequest fence_request(const step_context& context) const;

  const parts parts_;
  v1::ServerSpec spec_;
  v1::Settings settings_;  // as keep_history() heard of them last
  const callbacks on_;
  const copy_layout layout_;
  replication copies_;
  stand_in stand_in_;
  service_addresses addresses_;
  const bool shared_address_;  // classic layout: the address adopted is the control address
  mutable std::mutex way_back_mutex_;
  std::unique_ptr<restoration> way_back_;
  google::protobuf::RepeatedPtrField<v1::DatabasePattern>
      patterns_;  // the agent's, since the way back was opened
  std::optional<std::set<std::string>>
      left_there_;  // named, without a copy at the takeover, and the primary's
  std::vector<store::freeze_row> frozen_;
  std::uint64_t running_ = 0;  // serial of the present step
  std::atomic<std::uint64_t> cancelled_up_to_{0};
  absl::Status ahead_ = absl::UnknownError("not probed");
  std::chrono::steady_clock::time_point ahead_at_{};
  std::chrono::steady_clock::time_point found_silent_{};  // the agent did not answer a fence
};

}  // namespace understudy::server
