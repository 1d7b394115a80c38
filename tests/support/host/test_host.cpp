#include "tests/support/host/test_host.hpp"

#include <fmt/core.h>
#include <caf/actor_system.hpp>
#include <caf/exit_reason.hpp>
#include <caf/sec.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <atomic>
#include <future>
#include <stdexcept>

#include "agent-failover/actors/primary_supervisor.hpp"
#include "agent-failover/actors/slot_arbiter.hpp"
#include "agent-failover/api/board.hpp"
#include "agent-failover/policy/codec.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "common/actor/actor_config.hpp"
#include "common/os/file_system.hpp"
#include "common/sqlite/sqlite_vfs.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/host/fake_prober.hpp"

namespace understudy::test {
namespace {

using namespace actors;

struct shared_journal {
  std::shared_ptr<store::state_store> store;
  api::board* board = nullptr;
  std::function<void(const store::changes&)> on_commit;
  std::atomic<int> kill_at{0};
  std::atomic<journal_mode> mode{journal_mode::works};
  std::atomic<int> commits{0};
  std::atomic<bool> killed{false};
};

struct journal_state {
  static inline const char* name = "test_journal";
  std::vector<caf::typed_response_promise<changes_ptr>> unanswered;
};

journal_actor::behavior_type journal(journal_actor::stateful_pointer<journal_state> self,
                                     std::shared_ptr<shared_journal> shared) {
  return {
      [self, shared](atom::commit_atom, const changes_ptr& what) -> caf::result<changes_ptr> {
        const auto never = [&]() -> caf::result<changes_ptr> {
          return self->state.unanswered.emplace_back(self->make_response_promise<changes_ptr>());
        };
        if (shared->killed || shared->mode == journal_mode::stalls) return never();
        if (shared->mode == journal_mode::fails) return caf::make_error(caf::sec::runtime_error, "fails");
        if (!shared->store->commit(*what).ok()) {
          shared->killed = true;
          return never();
        }
        if (shared->on_commit) shared->on_commit(*what);
        if (++shared->commits == shared->kill_at) {
          shared->killed = true;
          return never();
        }
        for (const auto& event : what->events) shared->board->publish(event);
        return what;
      },
  };
}

// Healthy for ever. A class: CAF 0.17 spawns a function without arguments by binding a reference to null.
class always_healthy : public self_health_actor::base {
 public:
  explicit always_healthy(caf::actor_config& config) : self_health_actor::base(config) {}

  behavior_type make_behavior() override {
    return {
        [](atom::sample_atom, const network::probe_sample&) {},
        [](atom::line_atom) {},
        [](atom::request_atom, const std::string&, const supervisor_actor&) {},
        [](atom::forget_atom, const std::string&) {},
        [](atom::second_atom) {},
    };
  }
};

template <class T>
T or_throw(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(std::string(message_of(value.status())));
  return *std::move(value);
}

}  // namespace

class test_host::implementation {
 public:
  explicit implementation(host_options given) : options(std::move(given)) {
    static std::atomic<int> serial{0};
    os::file_system& state_fs =
        options.state_file_system != nullptr ? *options.state_file_system : os::posix_file_system();
    vfs = or_throw(sqlite::file_system_vfs::make(
        fmt::format("test-host-{}", ++serial),
        or_throw(state_fs.open_root(options.state_directory.empty() ? options.directory
                                                                    : options.state_directory))));
    shared->store = or_throw(store::state_store::open("state.db", vfs->name().c_str()));
    shared->board = &board;
    shared->on_commit = options.on_commit;
    capture = or_throw(capture::capture_engine::start({.real_time = false}));
    around = std::make_unique<supervisor_surroundings>(
        supervisor_surroundings{.fs = os::posix_file_system(),
                                .capture = *capture,
                                .prober = prober,
                                .board = board,
                                .journal = system.spawn(journal, shared),
                                .arbiter = spawn_slot_arbiter(system, board),
                                .health = system.spawn<always_healthy>(),
                                .data_dir = options.directory,
                                .host_name = "standby",
                                .host_address = "127.0.0.1:9"});
    const auto machines = or_throw(shared->store->machines());
    for (const bool holders : {true, false}) {
      for (const auto& spec : options.servers) {
        supervisor_beginning beginning{.since = std::chrono::system_clock::now(),
                                       .host_rebooted = options.rebooted};
        for (const auto& row : machines) {
          if (row.server != spec.name()) continue;
          beginning.machine = or_throw(policy::decode(row.state));
          beginning.since = row.since;
        }
        if (beginning.machine.slot_held != holders) continue;
        beginning.frozen = or_throw(shared->store->freezes(spec.name()));
        beginning.agent_boot = or_throw(shared->store->agent_boot(spec.name()));
        const auto handle =
            spawn_primary_supervisor(system, *around, spec, v1::Settings{}, std::move(beginning));
        supervisors[spec.name()] = handle;
        if (holders) caf::anon_send(around->arbiter, atom::request_v, spec.name(), handle, std::uint64_t{0});
      }
    }
  }

  ~implementation() {
    std::vector<std::future<void>> ended;
    for (auto& [name, handle] : supervisors) {
      auto end = std::make_shared<std::promise<void>>();
      ended.push_back(end->get_future());
      handle->attach_functor([end] { end->set_value(); });
      caf::anon_send_exit(handle, caf::exit_reason::kill);
    }
    for (auto& end : ended) end.wait();
    supervisors.clear();
    for (auto handle :
         {caf::actor_cast<caf::actor>(around->arbiter), caf::actor_cast<caf::actor>(around->health),
          caf::actor_cast<caf::actor>(around->journal)}) {
      caf::anon_send_exit(handle, caf::exit_reason::kill);
    }
    around.reset();
    capture.reset();
    system.await_all_actors_done();
    shared->store.reset();
  }

  host_options options;
  std::unique_ptr<sqlite::file_system_vfs> vfs;
  std::shared_ptr<shared_journal> shared = std::make_shared<shared_journal>();
  api::board board;
  fake_prober prober;
  std::unique_ptr<capture::capture_engine> capture;
  actor_config config;
  caf::actor_system system{config};
  std::unique_ptr<supervisor_surroundings> around;
  std::map<std::string, supervisor_actor> supervisors;
};

test_host::test_host(host_options options)
    : implementation_(std::make_unique<implementation>(std::move(options))) {}
test_host::~test_host() = default;

void test_host::kill_after(int commits) {
  implementation_->shared->kill_at = implementation_->shared->commits + commits;
}
bool test_host::killed() const {
  return implementation_->shared->killed;
}
int test_host::commits() const {
  return implementation_->shared->commits;
}
void test_host::set_journal(journal_mode mode) {
  implementation_->shared->mode = mode;
}

void test_host::ping(const std::function<bool(const std::string&)>& answers) {
  for (const auto& [name, handle] : implementation_->supervisors) {
    if (!implementation_->prober.pings(name)) continue;
    network::probe_sample sample;
    sample.target = name;
    sample.outcome = answers(name) ? network::probe_outcome::reply : network::probe_outcome::timeout;
    sample.rtt = std::chrono::microseconds{200};
    caf::anon_send(handle, atom::sample_v, sample);
  }
}

v1::ServerState test_host::state(const std::string& server) const {
  return implementation_->board.server(server).value_or(v1::ServerState{});
}
v1::HostState test_host::host() const {
  return implementation_->board.host();
}
std::vector<v1::Event> test_host::events(const std::string& server) const {
  return or_throw(implementation_->shared->store->events(server, 0, 1000));
}
std::vector<v1::Operation> test_host::operations() const {
  return implementation_->board.operations();
}

std::optional<api::command_result> test_host::command(const api::command& request,
                                                      std::chrono::milliseconds within) {
  auto answer = std::make_shared<std::promise<api::command_result>>();
  auto future = answer->get_future();
  auto envelope = std::make_shared<command_envelope>();
  envelope->command = request;
  envelope->answer = [answer](api::command_result result) { answer->set_value(std::move(result)); };
  caf::anon_send(implementation_->supervisors.at(request.server), atom::command_v, std::move(envelope));
  if (future.wait_for(within) != std::future_status::ready) return std::nullopt;
  return future.get();
}

}  // namespace understudy::test
