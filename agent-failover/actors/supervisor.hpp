#pragma once

// The state and the handlers of a primary_supervisor (actors.hpp). Five files implement it:
//   primary_supervisor.cpp   what happened, and what is decided about it
//   supervisor_streams.cpp   the copies: what is streamed, how far it is, the daily replication
//   supervisor_commands.cpp  what operators ask for
//   supervisor_agent.cpp     the line to the agent
//   supervisor_shown.cpp     what operators are shown
// Used by the actor's own thread only; others reach it through poster().

#include <caf/actor_cast.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent-failover/actors/agent_news.hpp"
#include "agent-failover/actors/operation_tracker.hpp"
#include "agent-failover/actors/primary_supervisor.hpp"
#include "agent-failover/actors/server_view.hpp"
#include "agent-failover/link/agent_connection.hpp"
#include "agent-failover/policy/action.hpp"
#include "agent-failover/policy/table.hpp"
#include "agent-failover/server/daily_schedule.hpp"
#include "agent-failover/server/worker.hpp"

namespace understudy::actors {

using std::chrono::steady_clock;
using std::chrono::system_clock;

// What shall be streamed, as the worker finds it when it gets there; one job in its queue at a time.
struct stream_order {
  std::mutex mutex;
  server::streams_wanted wanted;
  bool anew = false;  // what streams ends first, whatever is wanted then
  bool keep = false;  // as wanted
  bool queued = false;
};

// One thing to decide about, with what it brought along.
struct pending {
  policy::event event;
  std::vector<store::freeze_row> frozen;
  std::string note;
  std::shared_ptr<command_envelope> command;
};

class supervisor {
 public:
  static inline const char* name = "primary_supervisor";

  // Waits for the running step, which is told to end soon.
  ~supervisor();
  void start(supervisor_actor::pointer self, const supervisor_surroundings& around,
             const v1::ServerSpec& spec, const v1::Settings& settings, supervisor_beginning beginning);

  // Handlers; see actors.hpp.
  void on_sample(const network::probe_sample& sample);
  void on_line(const link_report& report);
  void on_step(const step_report& report);
  void on_slot(const slot_report& report);
  void on_health(const network::health_verdict& verdict);
  void on_conflict(const std::string& address, const std::string& mac);
  void on_command(const std::shared_ptr<command_envelope>& envelope);
  void on_application(const std::shared_ptr<application_envelope>& envelope);
  void on_changed();
  void on_second();
  void on_settings(const v1::Settings& settings);
  void on_adopted(const v1::ServerSpec& spec);
  void on_own_address(bool held);
  void on_shutdown();
  void happen(policy::event event) {
    if (event.kind == policy::event_kind::settled) news_.report_back_again();  // it was not heeded before
    enqueue({.event = std::move(event), .frozen = {}, .note = {}, .command = nullptr});
  }

 private:
  bool watching() const;
  void enqueue(pending one);
  void pump();
  void decide(pending one);
  store::changes changes_for(const policy::result& result, const pending& one);
  void make_durable(changes_ptr changes, policy::result result, pending one);
  void apply(policy::result result, const pending& one);
  void perform(const policy::action& action);
  void begin_step(policy::step_id which);
  void keep_streams();
  void compare_anew();
  // Posts what follows from `streams_`, once.
  void queue_streams();
  bool at_rest() const;
  // Begins to read both sides' files again.
  void read_again();
  void follow_reading();
  void follow_copy();
  void copy_ended(const std::string& trouble, int grpc_code = 0);
  std::string tell_missing();
  void tell_divergences();
  void record(policy::notice what, const std::string& text);
  void follow_agent();
  void tell_agent();
  void ask_for_description();
  void adopt_databases();
  bool may_adopt() const;
  void follow_adoption();
  void record_boot();
  void compare_application_versions();
  void on_versions(const link_report& report);
  void verify_finished();
  void drop_verify(int grpc_code, const std::string& reason);
  void watch_pings();
  void daily();
  void publish();
  v1::Event make_event(const policy::action& action, const pending& one) const;
  // Sends a message to this actor from any thread, as long as it lives.
  template <class... Ts>
  auto poster() {
    return [weak = caf::actor_cast<caf::weak_actor_ptr>(self_)](Ts... values) {
      if (auto strong = weak.lock())
        caf::anon_send(caf::actor_cast<supervisor_actor>(strong), std::move(values)...);
    };
  }

  supervisor_actor::pointer self_ = nullptr;
  std::unique_ptr<supervisor_surroundings> around_;
  v1::ServerSpec spec_;
  v1::Settings settings_;
  policy::primary_state machine_;
  system_clock::time_point since_;
  std::deque<pending> queue_;
  bool committing_ = false;
  bool shutting_down_ = false;

  std::uint64_t step_serial_ = 0;
  std::uint64_t slot_serial_ = 0;  // of the last request for the place
  bool databases_wanted_ = false;  // by the state machine
  bool files_wanted_ = false;
  bool copy_running_ = false;
  steady_clock::time_point copy_last_alive_;
  bool verifying_ = false;
  bool reading_ = false;      // both sides' files are read again, for a verification or the daily replication
  bool space_told_ = false;   // since the copies were last in step
  std::string reading_said_;  // what the last reading found, in words
  std::string reading_problem_;  // ... of a database of which a side could not be read to its end
  // Set by the worker once the streams of a bulk copy or verification have begun anew.
  std::shared_ptr<std::atomic<bool>> compared_anew_ = std::make_shared<std::atomic<bool>>(true);
  std::shared_ptr<std::atomic<bool>> changed_waits_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<stream_order> streams_ = std::make_shared<stream_order>();
  policy::copy_phase copy_seen_ = policy::copy_phase::cut;
  bool own_address_ = false;
  steady_clock::time_point conflict_told_;
  bool probing_ahead_ = false;
  std::optional<server::daily_schedule> daily_schedule_;
  bool daily_wanted_ = false;  // beside the schedule: a copy at rest was found damaged, or is not there
  system_clock::time_point copy_begun_;
  steady_clock::time_point daily_asked_;
  std::optional<steady_clock::time_point> daily_failed_;
  std::set<std::string> missing_told_;  // databases that the last generation went without

  bool connected_ = false;
  std::string agent_trouble_;
  std::optional<v1::HoldLeaseResponse> agent_;
  bool agent_news_fresh_ = false;  // agent_ was said after the right last changed hands
  version_verdict versions_;
  std::string application_versions_;  // how the application's own versions differ, or why they are not known
  steady_clock::time_point versions_due_;
  agent_news news_;
  std::string boot_recorded_;    // the agent's boot id as it is in state.db
  bool recording_boot_ = false;  // a commit of another one is under way
  bool telling_ = false;         // a fence or grant is under way
  steady_clock::time_point tell_not_before_;
  steady_clock::time_point adopt_not_before_;
  std::optional<v1::ServerSpec> adopted_;  // what the root decided, until may_adopt()
  std::chrono::nanoseconds round_trip_{0};
  std::string published_;  // the last state published, serialized

  std::unique_ptr<operation_tracker> operations_;
  std::shared_ptr<link::agent_connection> link_;
  std::shared_ptr<server::step_runner> runner_;
  std::unique_ptr<server::worker> worker_;       // steps and streams
  std::unique_ptr<server::worker> line_worker_;  // what waits for the agent beside them
};

}  // namespace understudy::actors
