// understudyd: wires configuration, actors and API together, and waits for a signal.

#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "agent-failover/actors/root.hpp"
#include "agent-failover/api/change_feed_service.hpp"
#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/host_config.hpp"
#include "common/actor/exit_deadline.hpp"
#include "common/log/log.hpp"
#include "common/rpc/rpc_server.hpp"
#include "common/rpc/service_notice.hpp"
#include "common/status/status_text.hpp"

namespace {

using namespace understudy;

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr const char* no_http =
    "[http] listen is kept for the console and /metrics, which this version does not have: nothing listens "
    "there";
constexpr std::chrono::seconds shutdown_grace{20};  // running steps end; stand-ins go on running
constexpr std::chrono::milliseconds call_grace{500};

int fail(const absl::Status& status, int code) {
  fmt::print(stderr, "understudyd: {}\n", message_of(status));
  return code;
}

// What agents are told to ask at their boot gate: the configured address, else our port at whatever address
// we have towards them.
std::string advertised(const host_config& config) {
  if (!config.grpc_advertise.empty()) return config.grpc_advertise;
  const auto colon = config.grpc_listen.rfind(':');
  return colon == std::string::npos ? "" : config.grpc_listen.substr(colon);
}

// Until SIGTERM or SIGINT. SIGHUP has the configuration read again: it is checked, and what cannot change in
// a running daemon (ports, data directory) says so.
void wait_for_end(const sigset_t& signals, const std::string& config_file) {
  for (;;) {
    int signal = 0;
    const auto alive = rpc::service_notice::alive_interval();
    if (alive.count() > 0) {
      timespec wait{.tv_sec = alive.count() / 1000, .tv_nsec = (alive.count() % 1000) * 1'000'000};
      signal = ::sigtimedwait(&signals, nullptr, &wait);
      rpc::service_notice::alive();
      if (signal < 0) continue;
    } else {
      ::sigwait(&signals, &signal);
    }
    if (signal != SIGHUP) return;
    auto read = read_host_config(config_file);
    if (!read.ok()) {
      log::error("", "the configuration is not taken over, the old one stays in force: {}",
                 message_of(read.status()));
    } else {
      log::info("", "the configuration is sound; ports and directories change with the next start");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "understudyd: keeps standby copies of servers, watches them, and stands in for one that fails"};
  std::string config_file = "/etc/understudy/understudyd.toml";
  bool check = false;
  bool verbose = false;
  app.add_option("--config", config_file, "configuration file")->capture_default_str();
  app.add_flag("--check", check, "check the configuration and end");
  app.add_flag("--verbose", verbose, "also log what developers want to know");
  app.set_version_flag("--version", std::string("understudyd ") + UNDERSTUDY_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }

  auto config = read_host_config(config_file);
  if (!config.ok()) return fail(config.status(), exit_usage);
  if (check) {
    fmt::print("{}: sound\n", config_file);
    if (!config->http_listen.empty()) fmt::print("{}\n", no_http);
    return 0;
  }

  // Before any thread exists, so that all of them leave these signals to main.
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  log::start(verbose ? log::level::debug : log::level::info, std::getenv("JOURNAL_STREAM") != nullptr);
  auto daemon = actors::root::start(
      {.data_dir = config->data_dir, .host_name = config->name, .host_address = advertised(*config)});
  if (!daemon.ok()) return fail(daemon.status(), exit_failed);

  api::supervisor_service supervisor(**daemon, (*daemon)->board());
  auto gate = api::make_gate_service(**daemon);
  auto change_feed = api::make_change_feed_service(
      [&daemon = **daemon](const std::string& name) { return daemon.databases_of(name); },
      [&daemon = **daemon](const std::string& name) { return daemon.files_of(name); });
  auto enrollment = api::make_enrollment_service();
  auto server =
      rpc::rpc_server::start({.listen = config->grpc_listen,
                              .insecure = config->insecure,
                              .tls = config->tls,
                              .services = {&supervisor, gate.get(), change_feed.get(), enrollment.get()},
                              .service_names = {"understudy.v1.Supervisor", "understudy.v1.Gate",
                                                "understudy.v1.ChangeFeed", "understudy.v1.Enrollment"},
                              .customise = {}});
  if (!server.ok()) return fail(server.status(), exit_failed);
  (*server)->set_all_serving(true);
  log::info("", "understudyd {} serves on {}, data in {}", UNDERSTUDY_VERSION, config->grpc_listen,
            config->data_dir);
  if (!config->http_listen.empty()) log::warning("", "{}", no_http);
  rpc::service_notice::ready();
  rpc::service_notice::status(fmt::format("{} servers", (*daemon)->servers().size()));

  wait_for_end(signals, config_file);

  log::info("", "going down; a running stand-in goes on");
  rpc::service_notice::stopping();
  actors::exit_deadline deadline(shutdown_grace, exit_failed, "shutdown of understudyd");
  (*daemon)->board().close();
  (*server)->shutdown(call_grace);
  daemon->reset();
  return 0;
}
