#include <fmt/core.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>

#include "agent-primary/service/agent.hpp"
#include "agent-primary/service/database_paths.hpp"
#include "common/actor/exit_deadline.hpp"
#include "common/log/log.hpp"
#include "common/rpc/service_notice.hpp"
#include "common/status/status_text.hpp"

namespace {

using understudy::message_of;
namespace log = understudy::log;
namespace service = understudy::service;
namespace notice = understudy::rpc::service_notice;

constexpr int exit_usage = 2;
constexpr std::chrono::seconds shutdown_deadline{15};  // systemd's own is 90 s

int check(const std::string& file) {
  const absl::StatusOr<service::agent_config> config = service::read_agent_config(file);
  if (!config.ok()) {
    fmt::print(stderr, "{}\n", message_of(config.status()));
    return exit_usage;
  }
  const service::found_databases found = service::find_databases(config->databases, {});
  for (const auto& database : config->databases) {
    if (service::has_wildcard(database.path)) fmt::print("{} finds at present:\n", database.path);
  }
  for (const auto& database : found.databases) {
    const auto named = [&](const auto& other) { return other.path == database.path; };
    if (std::none_of(config->databases.begin(), config->databases.end(), named))
      fmt::print("  {}  {}\n", database.catalog, database.path);
  }
  for (const std::string& problem : found.problems) fmt::print("{}\n", problem);
  fmt::print("{}: sound; {} databases, {} file trees, {} applications\n", file, found.databases.size(),
             config->files.size(), config->applications.size());
  return 0;
}

void reload(service::agent& agent, const std::string& file) {
  notice::reloading();
  const absl::StatusOr<service::agent_config> config = service::read_agent_config(file);
  const absl::Status status = config.ok() ? agent.reload(*config) : config.status();
  if (status.ok()) {
    log::info("", "reloaded {}", file);
  } else {
    log::error("", "not reloaded, the old configuration stays: {}", message_of(status));
  }
  notice::ready();
}

int run(const std::string& file, const sigset_t& signals) {
  absl::StatusOr<service::agent_config> config = service::read_agent_config(file);
  if (!config.ok()) {
    fmt::print(stderr, "{}\n", message_of(config.status()));
    return exit_usage;
  }
  absl::StatusOr<std::unique_ptr<service::agent>> agent = service::agent::start(*std::move(config));
  if (!agent.ok()) {
    log::error("", "{}", message_of(agent.status()));
    notice::status(message_of(agent.status()));
    return 1;
  }
  log::info("", "understudy-agent {} serves on port {}", UNDERSTUDY_VERSION, (*agent)->port());
  notice::ready();
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (signal != SIGHUP) break;
    reload(**agent, file);
  }
  notice::stopping();
  log::info("", "stopping; applications go on running");
  const understudy::actors::exit_deadline deadline(shutdown_deadline, 1, "the agent");
  agent->reset();
  return 0;
}

// The application's machine has other uses for memory than a heap for each of a dozen threads.
void keep_heap_small() {
  constexpr int arenas = 2;  // glibc's default is eight per processor
  ::mallopt(M_ARENA_MAX, arenas);
}

}  // namespace

int main(int argc, char** argv) {
  keep_heap_small();
  CLI::App app{
      "The Understudy agent of one primary: captures its databases and files, and runs its applications."};
  std::string file = "/etc/understudy/agent.toml";
  bool only_check = false;
  bool verbose = false;
  app.add_option("--config", file, "Configuration file")->capture_default_str();
  app.add_flag("--check", only_check, "Check the configuration and end");
  app.add_flag("--verbose", verbose, "Log what developers want to see");
  app.set_version_flag("--version", fmt::format("understudy-agent {}", UNDERSTUDY_VERSION));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (only_check) return check(file);

  // Blocked before the first thread starts, so that every thread inherits it and only sigwait takes them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  log::start(verbose ? log::level::debug : log::level::info, std::getenv("JOURNAL_STREAM") != nullptr);
  return run(file, signals);
}
