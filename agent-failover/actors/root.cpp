#include "agent-failover/actors/root.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>
#include <unistd.h>
#include <boost/filesystem/operations.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <fstream>
#include <future>
#include <utility>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/actors/journal.hpp"
#include "agent-failover/actors/restorer.hpp"
#include "agent-failover/actors/self_health.hpp"
#include "agent-failover/actors/slot_arbiter.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "agent-failover/network/prober.hpp"
#include "agent-failover/policy/codec.hpp"
#include "agent-failover/policy/status.hpp"
#include "agent-failover/policy/table.hpp"
#include "agent-failover/server/file_feeds.hpp"
#include "agent-failover/server/histories.hpp"
#include "agent-failover/server/server_trash.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "common/actor/actor_config.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/sqlite/sqlite_vfs.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::actors {
namespace {

using google::protobuf::util::TimeUtil;

constexpr auto decision_timeout = journal_timeout + std::chrono::seconds(5);
constexpr std::chrono::seconds application_timeout{120};  // applications stop and start in their own time
constexpr std::chrono::seconds end_timeout{90};           // a supervisor ends after its running step
constexpr int exit_software = 70;                         // sysexits.h EX_SOFTWARE
constexpr std::uint32_t kept_log = 5000;                  // lines brought back after a restart
constexpr std::uint32_t shown_intents = 60;               // a takeover and a failback, two for each step

std::string read_boot_id(const std::string& file) {
  std::ifstream in(file);
  std::string id;
  std::getline(in, id);
  return id;
}

// Two rows make a step; of one that a restart interrupted there is no second.
void add_steps(const std::vector<store::intent_row>& intents, v1::ExplainResponse& response) {
  for (const auto& intent : intents) {
    auto* last = response.steps_size() > 0 ? response.mutable_steps(response.steps_size() - 1) : nullptr;
    if (intent.ended && last != nullptr && last->step() == intent.step && !last->has_ended_at()) {
      *last->mutable_ended_at() = rpc::to_timestamp(intent.at);
      last->set_outcome(intent.outcome);
    } else if (!intent.ended) {
      auto* step = response.add_steps();
      step->set_step(intent.step);
      step->set_epoch(intent.epoch);
      *step->mutable_began_at() = rpc::to_timestamp(intent.at);
    }
  }
}

v1::EventSeverity severity_of(log::level level) {
  switch (level) {
    case log::level::error:
      return v1::EVENT_SEVERITY_ERROR;
    case log::level::warning:
      return v1::EVENT_SEVERITY_WARNING;
    default:
      return v1::EVENT_SEVERITY_INFO;
  }
}

}  // namespace

class root::parts {
 public:
  actor_config config;
  caf::actor_system system{config};
  std::unique_ptr<sqlite::file_system_vfs> vfs;
  std::unique_ptr<network::prober> prober;
  std::unique_ptr<capture::capture_engine> capture;
  std::unique_ptr<server::histories> past;
  server::file_feeds feeds;
  std::unique_ptr<restorer> restores;
  std::unique_ptr<supervisor_surroundings> around;
  std::mutex samples_mutex;
  std::map<std::string, supervisor_actor> by_target;
};

root::root(root_options options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<root>> root::start(root_options options) {
  std::unique_ptr<root> daemon(new root(std::move(options)));
  UNDERSTUDY_RETURN_IF_ERROR(daemon->open());
  return daemon;
}

absl::Status root::open() {
  os::file_system& fs = os::posix_file_system();
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, options_.data_dir));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, fs.open_root(options_.data_dir));
  parts_ = std::make_unique<parts>();
  UNDERSTUDY_ASSIGN_OR_RETURN(parts_->vfs,
                              sqlite::file_system_vfs::make("understudy-state", std::move(directory)));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto store, store::state_store::open("state.db", "understudy-state"));
  store_ = std::move(store);

  UNDERSTUDY_ASSIGN_OR_RETURN(settings_, store_->settings());
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto specs, store_->servers());
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto machines, store_->machines());
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::string last_boot, store_->boot_id());
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto lines, store_->log(kept_log));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto events, store_->events("", 0, kept_log));
  for (const auto& line : lines) board_.publish(line);
  for (const auto& event : events) board_.publish(event);

  const std::string boot = read_boot_id(options_.boot_id_file);
  const bool rebooted = !last_boot.empty() && boot != last_boot;

  UNDERSTUDY_ASSIGN_OR_RETURN(parts_->capture, capture::capture_engine::start());
  UNDERSTUDY_ASSIGN_OR_RETURN(parts_->prober,
                              network::prober::open({}, [p = parts_.get()](const network::probe_sample& s) {
                                std::lock_guard lock(p->samples_mutex);
                                if (s.target == "gateway") {
                                  if (p->around) caf::anon_send(p->around->health, atom::sample_v, s);
                                  return;
                                }
                                if (auto found = p->by_target.find(s.target); found != p->by_target.end()) {
                                  caf::anon_send(found->second, atom::sample_v, s);
                                }
                              }));

  board_.update_host([](v1::HostState& host) {
    host.set_version(UNDERSTUDY_VERSION);
    *host.mutable_started_at() = rpc::timestamp_now();
  });
  log_keeper_ = std::make_unique<store::log_keeper>(store_);
  log::set_listener([this](const log::line& line) {
    v1::LogLine shown;
    *shown.mutable_at() = rpc::timestamp_now();
    shown.set_severity(severity_of(line.severity));
    shown.set_server(line.subject);
    shown.set_text(line.text);
    log_keeper_->add(shown);
    board_.publish(std::move(shown));
  });

  parts_->past = std::make_unique<server::histories>(fs, options_.data_dir);
  parts_->restores = std::make_unique<restorer>(fs, board_, *parts_->past,
                                                [this](const std::string& path) { return owner_of(path); });

  adopter_ = std::make_unique<server::worker>("adopter");
  auto around = std::make_unique<supervisor_surroundings>(supervisor_surroundings{
      .fs = fs,
      .capture = *parts_->capture,
      .prober = *parts_->prober,
      .board = board_,
      .journal = spawn_journal(parts_->system, store_, board_),
      .arbiter = spawn_slot_arbiter(parts_->system, board_),
      .health = spawn_self_health(parts_->system, *parts_->prober, board_),
      .data_dir = options_.data_dir,
      .host_name = options_.host_name,
      .host_address = options_.host_address,
      .past = parts_->past.get(),
      .feeds = &parts_->feeds,
      .adopt =
          [this](const std::string& name, const found_databases& found) {
            std::lock_guard lock(mutex_);
            if (adopter_) adopter_->post([this, name, found] { adopt(name, found); });
          },
  });
  {
    std::lock_guard lock(parts_->samples_mutex);
    parts_->around = std::move(around);
  }

  // The one that holds the place first: nobody else may be given it meanwhile.
  for (const bool holders : {true, false}) {
    for (const auto& spec : specs) {
      supervisor_beginning beginning{.since = std::chrono::system_clock::now(), .host_rebooted = rebooted};
      for (const auto& row : machines) {
        if (row.server != spec.name()) continue;
        UNDERSTUDY_ASSIGN_OR_RETURN(beginning.machine, policy::decode(row.state));
        beginning.since = row.since;
      }
      if (beginning.machine.slot_held != holders) continue;
      UNDERSTUDY_ASSIGN_OR_RETURN(beginning.frozen, store_->freezes(spec.name()));
      UNDERSTUDY_ASSIGN_OR_RETURN(beginning.agent_boot, store_->agent_boot(spec.name()));
      specs_[spec.name()] = spec;
      spawn(spec, std::move(beginning));
      if (holders)
        caf::anon_send(parts_->around->arbiter, atom::request_v, spec.name(), supervisors_[spec.name()],
                       std::uint64_t{0});
    }
  }
  // Only now: a start that fails before every supervisor knows of the reboot must find it again.
  store::changes first;
  first.boot_id = boot;
  UNDERSTUDY_RETURN_IF_ERROR(store_->commit(first));
  if (rebooted)
    log::info("",
              "this host was rebooted: a primary counts as failed only after the higher count, until its "
              "first reply");
  return absl::OkStatus();
}

root::~root() {
  log::set_listener({});
  {
    std::unique_lock lock(mutex_);
    const auto ended = std::move(adopter_);
    lock.unlock();  // a job that is under way may need it
  }
  board_.close();
  std::vector<std::string> names;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [name, handle] : supervisors_) names.push_back(name);
  }
  for (const auto& name : names) end(name);
  if (!parts_) return;
  parts_->restores.reset();
  parts_->prober.reset();
  if (parts_->around) {
    for (auto handle : {caf::actor_cast<caf::actor>(parts_->around->arbiter),
                        caf::actor_cast<caf::actor>(parts_->around->health),
                        caf::actor_cast<caf::actor>(parts_->around->journal)}) {
      caf::anon_send_exit(handle, caf::exit_reason::user_shutdown);
    }
  }
  {
    std::lock_guard lock(parts_->samples_mutex);
    parts_->around.reset();
  }
  parts_->capture.reset();
  parts_->system.await_all_actors_done();
  log_keeper_.reset();
  store_.reset();
}

void root::spawn(const v1::ServerSpec& spec, supervisor_beginning beginning) {
  beginning.told = told_.try_emplace(spec.name(), beginning.told).first->second;
  supervisor_actor handle =
      spawn_primary_supervisor(parts_->system, *parts_->around, spec, settings_, std::move(beginning));
  handle->attach_functor([name = spec.name()](const caf::error& reason) {
    if (reason == caf::exit_reason::normal || reason == caf::exit_reason::user_shutdown || !reason) return;
    log::error(name, "its supervisor died ({}): the daemon ends and resumes from its journal",
               caf::to_string(reason));
    ::_exit(exit_software);
  });
  supervisors_[spec.name()] = handle;
  std::lock_guard lock(parts_->samples_mutex);
  parts_->by_target[spec.name()] = handle;
}

void root::end(const std::string& name) {
  supervisor_actor handle;
  {
    std::lock_guard lock(mutex_);
    auto found = supervisors_.find(name);
    if (found == supervisors_.end()) return;
    handle = found->second;
    supervisors_.erase(found);
    std::lock_guard samples(parts_->samples_mutex);
    parts_->by_target.erase(name);
  }
  auto ended = std::make_shared<std::promise<void>>();
  auto future = ended->get_future();
  handle->attach_functor([ended](const caf::error&) { ended->set_value(); });
  caf::anon_send(handle, atom::shutdown_v);
  if (future.wait_for(end_timeout) != std::future_status::ready) {
    log::error(name, "its supervisor did not end within {} s", end_timeout.count());
  }
}

absl::StatusOr<supervisor_actor> root::find(const std::string& name) const {
  std::lock_guard lock(mutex_);
  auto found = supervisors_.find(name);
  if (found == supervisors_.end()) return api::no_such_server(name);
  return found->second;
}

absl::StatusOr<std::vector<api::followed_database>> root::databases_of(const std::string& server) const {
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::ServerSpec spec, spec_of(server));
  std::vector<api::followed_database> databases;
  const auto past = parts_->past->find(server);
  for (const auto& database : spec.databases()) {
    databases.push_back({database.catalog(), past != nullptr ? past->find(database.catalog()) : nullptr});
  }
  return databases;
}

absl::StatusOr<api::followed_files> root::files_of(const std::string& server) const {
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::ServerSpec spec, spec_of(server));
  api::followed_files files{.feed = parts_->feeds.of(server), .bases = {}};
  for (const auto& tree : spec.files()) files.bases.push_back(tree.base());
  return files;
}

absl::Status root::commit(store::changes changes) {
  auto done = std::make_shared<std::promise<bool>>();
  caf::scoped_actor asker{parts_->system};
  absl::Status status;
  asker
      ->request(parts_->around->journal, decision_timeout, atom::commit_v,
                std::make_shared<store::changes>(std::move(changes)))
      .receive([](const changes_ptr&) {},
               [&](const caf::error& error) {
                 status = absl::InternalError(fmt::format("state.db: {}", caf::to_string(error)));
               });
  return status;
}

api::command_result root::run(const api::command& request) {
  auto handle = find(request.server);
  if (!handle.ok()) return {.status = handle.status(), .effect = {}, .operation = {}};
  auto answer = std::make_shared<std::promise<api::command_result>>();
  auto future = answer->get_future();
  auto envelope = std::make_shared<command_envelope>();
  envelope->command = request;
  envelope->answer = [answer](api::command_result result) { answer->set_value(std::move(result)); };
  caf::anon_send(*handle, atom::command_v, std::move(envelope));
  if (future.wait_for(decision_timeout) != std::future_status::ready) {
    return {.status = absl::DeadlineExceededError("the daemon did not decide in time; see its log"),
            .effect = {},
            .operation = {}};
  }
  return future.get();
}

absl::StatusOr<std::vector<v1::ApplicationStatus>> root::command_application(const std::string& server,
                                                                             const std::string& application,
                                                                             v1::ApplicationCommand what) {
  UNDERSTUDY_ASSIGN_OR_RETURN(supervisor_actor handle, find(server));
  using reply = absl::StatusOr<std::vector<v1::ApplicationStatus>>;
  auto answer = std::make_shared<std::promise<reply>>();
  auto future = answer->get_future();
  auto envelope = std::make_shared<application_envelope>();
  envelope->application = application;
  envelope->command = what;
  envelope->answer = [answer](reply result) { answer->set_value(std::move(result)); };
  caf::anon_send(handle, atom::program_v, std::move(envelope));
  if (future.wait_for(application_timeout) != std::future_status::ready) {
    return absl::DeadlineExceededError("the applications did not follow in time");
  }
  return future.get();
}

absl::StatusOr<policy::primary_state> root::machine_of(const std::string& name) const {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto machines, store_->machines());
  for (const auto& row : machines) {
    if (row.server == name) return policy::decode(row.state);
  }
  return api::no_such_server(name);
}

absl::Status root::respawn(const std::string& name) {
  supervisor_beginning beginning{.since = std::chrono::system_clock::now()};
  UNDERSTUDY_ASSIGN_OR_RETURN(beginning.machine, machine_of(name));
  UNDERSTUDY_ASSIGN_OR_RETURN(beginning.frozen, store_->freezes(name));
  UNDERSTUDY_ASSIGN_OR_RETURN(beginning.agent_boot, store_->agent_boot(name));
  std::lock_guard lock(mutex_);
  const auto spec = specs_.find(name);
  if (spec == specs_.end()) return api::no_such_server(name);
  spawn(spec->second, std::move(beginning));
  return absl::OkStatus();
}

api::command_result root::restore(const api::restore_request& request) {
  return parts_->restores->restore(request);
}

bool root::cancel(const std::string& operation) {
  return parts_->restores->cancel(operation);
}

absl::StatusOr<v1::ServerSpec> root::spec_of(const std::string& name) const {
  std::lock_guard lock(mutex_);
  const auto found = specs_.find(name);
  if (found == specs_.end()) return api::no_such_server(name);
  return found->second;
}

absl::StatusOr<std::vector<v1::DatabaseHistory>> root::history(const std::string& server) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::ServerSpec spec, spec_of(server));
  return parts_->past->list(spec);
}

absl::StatusOr<v1::ListDeletedFilesResponse> root::deleted_files(const v1::ListDeletedFilesRequest& request) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::ServerSpec spec, spec_of(request.server()));
  return server::list_deleted_files(os::posix_file_system(), server::copy_layout(options_.data_dir, spec),
                                    spec, request);
}

absl::StatusOr<std::string> root::restore_deleted_file(const v1::RestoreDeletedFileRequest& request,
                                                       const std::string& actor,
                                                       const std::function<bool()>& go_on) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const v1::ServerSpec spec, spec_of(request.server()));
  return parts_->restores->restore_file(spec, server::copy_layout(options_.data_dir, spec), request, actor,
                                        go_on);
}

// Whose copy or state a path is in, in words.
std::string root::owner_of(const std::string& path) const {
  boost::system::error_code error;
  const auto inside = [&](const std::string& directory) {
    const auto real = boost::filesystem::canonical(directory, error);
    return path.starts_with((error ? directory : real.string()) + "/");
  };
  std::lock_guard lock(mutex_);
  for (const auto& [name, spec] : specs_) {
    if (inside(server::copy_layout(options_.data_dir, spec).directory()))
      return fmt::format("the copy of {}", name);
  }
  return inside(options_.data_dir) ? "this daemon's own data" : "";
}

absl::Status root::remove_server(const std::string& name, bool delete_copy) {
  std::lock_guard one(changing_);
  UNDERSTUDY_RETURN_IF_ERROR(may_change(name));
  UNDERSTUDY_RETURN_IF_ERROR(end_quiet(name));
  store::changes changes;
  changes.remove_server = name;
  if (absl::Status removed = commit(std::move(changes)); !removed.ok()) {
    UNDERSTUDY_RETURN_IF_ERROR(respawn(name));
    return removed;
  }
  v1::ServerSpec spec;
  {
    std::lock_guard lock(mutex_);
    spec = specs_[name];
    specs_.erase(name);
    told_.erase(name);
  }
  caf::anon_send(parts_->around->arbiter, atom::release_v, name);
  board_.remove(name);
  parts_->feeds.forget(name);
  log::info(name, "removed");
  if (!delete_copy) {
    for (const auto& database : spec.databases())
      server::copy_layout(options_.data_dir, spec).remove_unfinished(database);
    parts_->past->forget(name);
    return absl::OkStatus();
  }
  parts_->past->drop(spec);
  // What we made there and nothing else: the directory may be the operator's own.
  const std::string directory = server::copy_layout(options_.data_dir, spec).directory();
  boost::system::error_code error;
  for (const char* below :
       {"/root", "/db", "/history", "/set-aside", "/run", "/.understudy-staging", "/.understudy-trash"}) {
    boost::filesystem::remove_all(directory + below, error);
    if (error)
      return absl::InternalError(fmt::format("{}{} is not deleted: {}", directory, below, error.message()));
  }
  boost::filesystem::remove(directory, error);  // if nothing else is in it
  return absl::OkStatus();
}

std::vector<v1::ServerSpec> root::servers() const {
  std::lock_guard lock(mutex_);
  std::vector<v1::ServerSpec> all;
  for (const auto& [name, spec] : specs_) all.push_back(spec);
  return all;
}

v1::Settings root::settings() const {
  std::lock_guard lock(mutex_);
  return settings_;
}

absl::Status root::update_settings(const v1::Settings& settings) {
  store::changes changes;
  changes.settings = settings;
  UNDERSTUDY_RETURN_IF_ERROR(commit(std::move(changes)));
  std::lock_guard lock(mutex_);
  settings_ = settings;
  for (const auto& [name, handle] : supervisors_) caf::anon_send(handle, atom::settings_v, settings);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::Event>> root::events(const v1::ListEventsRequest& request,
                                                    std::uint32_t limit) {
  using which = store::state_store::which;
  return store_->events(request.server(), request.after(), limit,
                        request.oldest_first() ? which::oldest : which::newest);
}

absl::Status root::explain(const std::string& server, v1::ExplainResponse& response) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const policy::primary_state machine, machine_of(server));
  std::string since;
  if (auto state = board_.server(server)) since = TimeUtil::ToString(state->since());
  response.set_text(policy::explain(machine, since).text());
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto intents, store_->intents(server, shown_intents));
  add_steps(intents, response);
  for (const auto& transition : policy::transitions_from(machine)) {
    auto* added = response.add_transitions();
    added->set_event(transition.event);
    added->set_guard(transition.guard);
    added->set_to(transition.to);
    added->set_comment(transition.comment);
  }
  return absl::OkStatus();
}

v1::AskToRunResponse root::ask_to_run(const v1::AskToRunRequest& request) {
  v1::AskToRunResponse response;
  bool known = false;
  {
    std::lock_guard lock(mutex_);
    known = specs_.contains(request.server());
  }
  if (!known) {
    // Nothing is known against it, unless the one that is stood in for calls itself by another name.
    response.set_granted(board_.host().standing_in_for().empty());
    response.set_reason(fmt::format("{} is not protected by this host", request.server()));
    return response;
  }
  auto machine = machine_of(request.server());
  if (!machine.ok()) {
    response.set_reason("the record of the right cannot be read; see the host's log");  // asks again
    return response;
  }
  const bool ours = machine->owner == policy::right_owner::failover_host;
  response.set_granted(policy::may_grant(*machine));
  response.mutable_right()->set_epoch(machine->epoch);
  response.mutable_right()->set_owner(ours ? v1::RIGHT_OWNER_FAILOVER_HOST : v1::RIGHT_OWNER_PRIMARY);
  response.mutable_right()->set_owner_name(ours ? options_.host_name : request.server());
  if (!response.granted()) {
    response.set_reason(
        fmt::format("{} has the right to run ({}): fail back with `understudyctl failback {}`",
                    options_.host_name, policy::name_of(*machine), request.server()));
  }
  std::lock_guard lock(mutex_);
  if (auto spec = specs_.find(request.server()); spec != specs_.end()) {
    *response.mutable_service_addresses() = spec->second.service_addresses();
  }
  return response;
}

}  // namespace understudy::actors
