#include "agent-primary/service/agent.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>

#include "agent-failover/replica/tree/incoming_tree.hpp"
#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/service/boot_moment.hpp"
#include "agent-primary/service/database_keeper.hpp"
#include "agent-primary/service/database_paths.hpp"
#include "agent-primary/service/files_restore.hpp"
#include "agent-primary/service/gate_client.hpp"
#include "agent-primary/service/lease_keeper.hpp"
#include "agent-primary/service/lease_streams.hpp"
#include "agent-primary/service/primary_agent_service.hpp"
#include "agent-primary/service/root.hpp"
#include "agent-primary/service/service_addresses.hpp"
#include "agent-primary/service/table_service.hpp"
#include "agent-primary/service/verification_service.hpp"
#include "common/actor/actor_config.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/os/unique_fd.hpp"
#include "common/rpc/rpc_server.hpp"
#include "common/rpc/service_notice.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::service {
namespace {

constexpr std::chrono::minutes versions_again_after{10};
constexpr std::chrono::milliseconds stream_grace{500};  // for calls under way to notice the end

constexpr const char* gate_flag = "may-run";

// Its removal is durable on return: a flag that comes back with the power would open the gate at boot. One
// that a power cut takes away only keeps it closed.
void set_gate_flag(os::directory& state, const std::string& path, bool open) {
  if (open) {
    std::ofstream file(path);
    file << "Units of protected applications may start while this file is here: "
            "ConditionPathExists="
         << path << "\n";
    return;
  }
  absl::Status status = state.remove_file(gate_flag);
  if (status.ok() || absl::IsNotFound(status)) status = state.sync();
  if (!status.ok()) {
    log::error("", "{} could not be removed, and units that wait for it may start: {}", path,
               message_of(status));
  }
}

std::string status_line(const agent_parts& parts) {
  const lease_snapshot right = parts.right();
  std::size_t up = 0;
  const std::vector<application::application_status> applications = parts.applications->status();
  for (const application::application_status& a : applications) up += a.up() ? 1 : 0;
  return fmt::format("gate {}, epoch {}, owner {}; {} databases; {} of {} applications up",
                     lease::to_string(right.phase), right.right.epoch, lease::to_string(right.right.owner),
                     parts.databases().size(), up, applications.size());
}

}  // namespace

class agent::implementation {
 public:
  agent_parts parts;
  std::unique_ptr<os::directory> state_directory;
  os::unique_fd state_lock;
  std::unique_ptr<boot_memory> memory;
  std::unique_ptr<gate_client> host;
  service_addresses addresses;
  actors::actor_config system_config;
  std::unique_ptr<caf::actor_system> system;
  root_actor root;
  std::unique_ptr<primary_agent_service> service;
  std::unique_ptr<verification_service> verification;
  std::unique_ptr<table_service> tables;
  std::unique_ptr<rpc::rpc_server> server;
  std::unique_ptr<database_keeper> databases;
  std::jthread versions;
  std::mutex ready_mutex;
  std::condition_variable ready;
  bool gate_known = false;  // the gate has taken in the record; under ready_mutex

  ~implementation();
  absl::Status lock_state();
  absl::Status serve();
  lease_surroundings surroundings();
  lease::booted boot();
  absl::Status start_applications();
  absl::Status start_file_sources();
  void start_actors();
  void databases_changed();
  void ask_versions();
  void ask_versions_once();
};

lease::booted agent::implementation::boot() {
  lease::booted event;
  absl::StatusOr<lease::right_record> record = lease::load_record(*state_directory);
  if (record.ok()) {
    event.right = *std::move(record);
  } else {
    log::error("", "{}", message_of(record.status()));
    event.damaged = true;
  }
  if (!parts.config.host_address.empty()) event.right.host_address = parts.config.host_address;
  event.machine_booted = !memory->decided_in_this_boot();
  event.applications_up = !parts.applications->all_down();
  event.host_known = !event.right.host_address.empty();
  event.lease_end = memory->lease_end();
  event.now = boot_time_now();
  return event;
}

lease_surroundings agent::implementation::surroundings() {
  lease_surroundings around;
  around.store = [this](const lease::right_record& record) {
    return lease::store_record(*state_directory, record);
  };
  around.keep_lease_end = [this](std::optional<lease::time_point> end) { memory->keep_lease_end(end); };
  around.ask_host = [this](const lease::right_record& right, std::function<void(lease::gate_event)> answer) {
    host->ask(right.host_address, right, std::move(answer));
  };
  around.add_addresses = [this](const auto& list) { return addresses.add(list); };
  around.remove_addresses = [this](const auto& list) { return addresses.remove(list); };
  around.start_applications = [this] { caf::anon_send(parts.application_keeper(), atom::start_v); };
  around.stop_applications = [this](std::chrono::milliseconds grace, const std::string& why) {
    log::info("", "stopping the applications: {}", why);
    caf::anon_send(parts.application_keeper(), atom::stop_v, std::int64_t{grace.count()});
  };
  around.set_flag = [this, path = fmt::format("{}/{}", parts.config.state_dir, gate_flag)](bool open) {
    set_gate_flag(*state_directory, path, open);
  };
  around.publish = [this](const lease_snapshot& now) {
    parts.set_right(now);
    if (now.phase == lease::gate_phase::closed && now.right.owner == lease::right_owner::failover_host) {
      parts.applications->note_down(fmt::format("kept down: {} stands in", now.right.owner_name));
    }
    parts.streams->changed();
    rpc::service_notice::status(status_line(parts));
    std::lock_guard lock(ready_mutex);
    gate_known = true;
    ready.notify_all();
  };
  around.boot_decided = [this] { memory->note_decided(); };
  around.now = boot_time_now;
  around.boot_wait = parts.config.boot_wait;
  return around;
}

absl::Status agent::implementation::start_applications() {
  application::set_options options;
  options.state_directory = parts.config.state_dir + "/applications";
  options.subject = parts.config.name;
  options.systemctl = parts.config.systemctl;
  options.runtime_units = parts.config.runtime_units;
  options.on_change = [this](const std::vector<application::application_status>& all) {
    // Empty until the actors are there; what was adopted is told to the gate by its boot event.
    if (lease_keeper_actor keeper = parts.lease_keeper()) caf::anon_send(keeper, atom::change_v, all);
    if (parts.serving()) parts.streams->changed();
  };
  absl::StatusOr<std::unique_ptr<application::application_set>> set =
      application::application_set::open(parts.config.applications, std::move(options));
  UNDERSTUDY_RETURN_IF_ERROR(set.status());
  parts.applications = *std::move(set);
  return absl::OkStatus();
}

absl::Status agent::implementation::start_file_sources() {
  for (const files_config& tree : parts.config.files) {
    files::file_source_options options;
    options.what.base = tree.base;
    for (const inclusion_config& row : tree.include) {
      options.what.include.push_back({row.subdirectory, row.types, row.recursive, row.ignore_case});
    }
    options.what.exclude_databases = never_as_files(parts.databases(), parts.config.databases);
    // Before an application may start over half of it. Where it fails, every stream of this tree says why.
    if (const absl::Status finished = files::finish_adoption(
            os::posix_file_system(),
            restore_options(options.what, static_cast<std::uint32_t>(parts.file_sources.size())));
        !finished.ok()) {
      log::error("", "{}: an interrupted failback cannot be finished: {}", tree.base, message_of(finished));
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(std::shared_ptr<files::file_source> source,
                                files::file_source::start(std::move(options)));
    log::info("", "file tree {}", tree.base);
    parts.file_sources.push_back(std::move(source));
  }
  return absl::OkStatus();
}

void agent::implementation::start_actors() {
  system_config.add_message_types<caf::id_block::understudy_agent>();
  system_config.add_message_types<caf::id_block::understudy_agent_root>();
  system = std::make_unique<caf::actor_system>(system_config);
  root_children children;
  children.applications = parts.applications;
  children.report = [this](const std::vector<application::application_status>& all) {
    if (lease_keeper_actor keeper = parts.lease_keeper()) caf::anon_send(keeper, atom::change_v, all);
  };
  children.boot = [this] { return boot(); };
  children.surroundings = surroundings();
  for (const database_config& database : parts.databases()) {
    children.databases.emplace_back(database.catalog, parts.capture->add(database.path));
  }
  children.keepers_ready = [this](application_keeper_actor applications, lease_keeper_actor keeper) {
    parts.set_keepers(std::move(applications), std::move(keeper));
  };
  children.give_up = [] { ::kill(::getpid(), SIGTERM); };
  root = system->spawn(agent_root, std::move(children));
  std::unique_lock lock(ready_mutex);
  ready.wait(lock, [this] { return gate_known; });
}

// What calls others goes before what is called: the server, the actors, the applications' thread.
agent::implementation::~implementation() {
  if (server) {
    server->set_all_serving(false);
    parts.streams->end();
    server->shutdown(stream_grace);
  }
  databases.reset();
  versions = {};  // told to stop, and waited for
  parts.set_keepers(application_keeper_actor{}, lease_keeper_actor{});
  if (host) host->close();
  if (root) caf::anon_send_exit(root, caf::exit_reason::user_shutdown);
  root = root_actor{};
  system.reset();
  parts.applications.reset();
}

// Two agents over one directory would each believe to hold the right.
absl::Status agent::implementation::lock_state() {
  const std::string path = parts.config.state_dir + "/lock";
  state_lock.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  if (!state_lock) return errno_status(errno, "open", path);
  if (::flock(state_lock.value(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::AlreadyExistsError(fmt::format("another understudy-agent uses {}; see which with: fuser {}",
                                              parts.config.state_dir, path));
}

absl::Status agent::implementation::serve() {
  rpc::server_options options;
  options.listen = parts.config.listen;
  options.insecure = parts.config.insecure;
  options.tls = parts.config.tls;
  options.services = {service.get(), verification.get(), tables.get()};
  options.service_names = {"understudy.v1.PrimaryAgent", "understudy.v1.DatabaseVerification"};
  UNDERSTUDY_ASSIGN_OR_RETURN(server, rpc::rpc_server::start(std::move(options)));
  return absl::OkStatus();
}

void agent::implementation::databases_changed() {
  if (!root) return;
  std::vector<watched_database> watched;
  for (const database_config& database : parts.databases()) {
    watched.emplace_back(database.catalog, parts.capture->add(database.path));
  }
  caf::anon_send(root, atom::change_v, std::move(watched));
  parts.streams->changed();
}

// Version commands are the application's own programs and may be slow: asked beside everything else, and
// again now and then, for applications are upgraded while the agent runs.
void agent::implementation::ask_versions() {
  versions = std::jthread([this](const std::stop_token& over) {
    std::mutex pause;
    std::condition_variable_any ended;
    for (std::unique_lock lock(pause); !over.stop_requested();
         ended.wait_for(lock, over, versions_again_after, [] { return false; })) {
      ask_versions_once();
    }
  });
}

void agent::implementation::ask_versions_once() {
  for (const application::application_definition& definition : parts.applications->definitions()) {
    if (definition.version.empty()) continue;
    absl::StatusOr<std::string> version = parts.applications->version(definition.name);
    if (version.ok()) {
      parts.set_version(definition.name, *std::move(version));
    } else {
      log::warning("", "the version of {} is not known: {}", definition.name, message_of(version.status()));
    }
  }
}

absl::StatusOr<std::unique_ptr<agent>> agent::start(agent_config config) {
  auto own = std::make_unique<implementation>();
  own->parts.config = std::move(config);
  const agent_config& used = own->parts.config;
  os::file_system& fs = os::posix_file_system();
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, used.state_dir));
  UNDERSTUDY_RETURN_IF_ERROR(own->lock_state());
  UNDERSTUDY_ASSIGN_OR_RETURN(own->state_directory, fs.open_root(used.state_dir));
  own->memory = std::make_unique<boot_memory>(used.state_dir);
  // Before anything can fail: of a flag that the last boot left nobody would know otherwise that it is stale.
  if (!own->memory->decided_in_this_boot())
    set_gate_flag(*own->state_directory, fmt::format("{}/{}", used.state_dir, gate_flag), false);
  own->host = std::make_unique<gate_client>(used.name, used.tls);
  own->parts.streams = std::make_unique<lease_streams>(own->parts);

  own->service = std::make_unique<primary_agent_service>(own->parts);
  own->verification = std::make_unique<verification_service>(own->parts);
  own->tables = std::make_unique<table_service>(own->parts);
  capture::capture_options capture;
  capture.real_time = used.real_time;
  UNDERSTUDY_ASSIGN_OR_RETURN(own->parts.capture, capture::capture_engine::start(capture));
  own->databases =
      std::make_unique<database_keeper>(own->parts, [own = own.get()] { own->databases_changed(); });
  own->databases->configure(used.databases);
  UNDERSTUDY_RETURN_IF_ERROR(own->start_file_sources());
  UNDERSTUDY_RETURN_IF_ERROR(own->start_applications());
  // Before the actors, so that an address that cannot be had ends it here, before an application is touched.
  UNDERSTUDY_RETURN_IF_ERROR(own->serve());
  own->start_actors();
  own->databases->start();
  own->ask_versions();
  own->server->set_all_serving(true);
  rpc::service_notice::status(status_line(own->parts));
  return std::unique_ptr<agent>(new agent(std::move(own)));
}

agent::agent(std::unique_ptr<implementation> parts) : implementation_(std::move(parts)) {}

agent::~agent() = default;

int agent::port() const {
  return implementation_->server->port();
}

absl::Status agent::reload(const agent_config& config) {
  const std::string what = needs_restart(implementation_->parts.config, config);
  if (!what.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("{} cannot change while the agent runs; restart it: systemctl restart understudy-agent "
                    "(applications go on running)",
                    what));
  }
  implementation_->databases->configure(config.databases);
  return absl::OkStatus();
}

}  // namespace understudy::service
