// understudy-demo: the main job on one machine. See README.md.

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <filesystem>
#include <memory>

#include "deploy/demo/report.hpp"
#include "deploy/demo/scenario.hpp"

namespace {

namespace fs = std::filesystem;
using namespace understudy;

volatile sig_atomic_t interrupted = 0;

std::string keep_logs(demo::scenario& story) {
  const fs::path kept = fs::temp_directory_path() / fmt::format("understudy-demo-logs-{}", ::getpid());
  fs::copy(story.site().net().directory() / "logs", kept,
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  return kept;
}

void stay(demo::report& out, demo::scenario& story) {
  auto& site = story.site();
  const std::string user = test::lab::can_cut_between() ? "" : "--user --preserve-credentials ";
  const auto enter = [&](test::host& where) {
    return fmt::format("nsenter --target {} {}--net --mount --pid --uts", where.init_pid(), user);
  };
  const std::string ctl = test::program("understudyctl");
  out.title("The network stays up. Look around from another terminal:");
  out.note(fmt::format(
      "{} {} status -w\n{} {} events\n{} {} failover primary --yes\n"
      "{} curl -s http://{}:8080/timeline\n{} bash      # a shell on the primary\n"
      "logs: {}/logs",
      enter(site.failover()), ctl, enter(site.failover()), ctl, enter(site.failover()), ctl,
      enter(site.client()), site.service_address(), enter(site.primary()), site.net().directory().string()));
  out.title("Enter or Ctrl-C ends it.");
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (interrupted == 0 && ::poll(&input, 1, 200) <= 0) {
  }
}

bool play(demo::report& out, void (demo::scenario::*story)(), bool then_stay) {
  auto running = std::make_unique<demo::scenario>(out);
  const bool held = out.all_hold();
  try {
    ((*running).*story)();
  } catch (const std::exception& error) {
    out.check(false, "the demonstration came to its end", error.what());
  }
  if (held && !out.all_hold()) out.note(fmt::format("the daemons' logs are kept in {}", keep_logs(*running)));
  if (then_stay) stay(out, *running);
  return out.all_hold();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Shows what Understudy does: a power loss with takeover and failback, and a planned switchover."};
  bool stays = false;
  bool only_switchover = false;
  bool only_power_loss = false;
  app.add_flag("--stay", stays, "leave the last network running, to look around");
  auto* planned = app.add_flag("--switchover", only_switchover, "only the planned switchover");
  app.add_flag("--power-loss", only_power_loss, "only the power loss")->excludes(planned);
  CLI11_PARSE(app, argc, argv);

  test::become_root();
  demo::report out(::isatty(STDOUT_FILENO) == 1);
  bool fine = true;
  try {
    if (!only_switchover) fine = play(out, &demo::scenario::power_loss, stays && only_power_loss);
    if (fine && !only_power_loss) fine = play(out, &demo::scenario::switchover, stays);
  } catch (const std::exception& error) {
    fine = out.check(false, "the lab could be set up", error.what());
  }
  out.title(fine ? "All of it holds." : "Something does not hold; see above.");
  return fine ? 0 : 1;
}
