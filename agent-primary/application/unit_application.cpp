#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <map>
#include <sstream>
#include <utility>

#include "agent-primary/application/application_runner.hpp"
#include "agent-primary/application/process_identity.hpp"
#include "agent-primary/application/short_command.hpp"
#include "agent-primary/application/unit_drop_in.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::application {
namespace {

constexpr std::chrono::milliseconds systemctl_timeout{
    15'000};                                          // for what systemd answers at once: show, reload
constexpr std::chrono::milliseconds first_look{100};  // after a start; doubles up to check_interval

// systemctl is called one at a time, in order; what it does is idempotent. Between calls a pidfd of the
// unit's main process tells at once when that ends, and a look every check_interval tells the rest.
class unit_application final : public application_runner {
 public:
  unit_application(application_definition definition, event_loop& loop, std::string subject,
                   std::string systemctl, std::string runtime_units, std::function<void()> changed)
      : application_runner(std::move(definition), loop, std::move(subject), std::move(changed)),
        systemctl_(std::move(systemctl)),
        runtime_units_(std::move(runtime_units)),
        command_(loop),
        check_(loop) {}

  ~unit_application() override {
    forget_main_process();
    cancel(look_timer_);
    cancel(kill_timer_);
    cancel(start_timer_);
    answer_all(start_answers_, absl::CancelledError("the daemon is stopping"));
    answer_all(stop_answers_, absl::CancelledError("the daemon is stopping"));
    for (const answer& done : std::exchange(adopt_answers_, {}))
      done(absl::CancelledError("the daemon is stopping"));
  }

  bool down() const override { return status_.state == application_state::stopped; }

  void adopt(answer done) override {
    adopt_answers_.push_back(std::move(done));
    look();
  }

  void start(answer done) override {
    if (status_.state == application_state::running || status_.state == application_state::unhealthy) {
      done(absl::OkStatus());
      return;
    }
    if (status_.state == application_state::stopping) {
      done(absl::FailedPreconditionError(fmt::format("{} is being stopped", definition_.name)));
      return;
    }
    start_answers_.push_back(std::move(done));
    if (status_.state == application_state::starting) return;
    status_.restarts = 0;
    enter(application_state::starting, fmt::format("starting {}", definition_.unit));
    const absl::StatusOr<bool> changed = write_drop_in(runtime_units_, definition_);
    if (!changed.ok()) {
      start_failed(changed.status());
      return;
    }
    if (*changed) {
      call({"daemon-reload"}, systemctl_timeout, [this](const command_result& result) {
        if (!result.status.ok())
          log::warning(subject_, "systemctl daemon-reload: {}", message_of(result.status));
      });
    }
    cancel(start_timer_);
    start_timer_ = loop_.after(definition_.start_timeout, [this] {
      start_timer_ = 0;
      start_failed(absl::DeadlineExceededError(fmt::format("its check does not succeed: {}", last_check_)));
    });
    call({"start", definition_.unit}, definition_.start_timeout, [this](const command_result& result) {
      if (status_.state != application_state::starting) return;
      if (!result.status.ok()) {
        start_failed(result.status);
        return;
      }
      look_pause_ = first_look;
      look();
    });
  }

  void stop(std::chrono::milliseconds grace, answer done) override {
    stop_answers_.push_back(std::move(done));
    const event_loop::clock::time_point kill_at = event_loop::clock::now() + grace;
    if (status_.state == application_state::stopping && kill_at >= kill_at_) return;
    const bool first = status_.state != application_state::stopping;
    kill_at_ = kill_at;
    cancel(kill_timer_);
    kill_timer_ = loop_.after(grace, [this] {
      kill_timer_ = 0;
      log::warning(subject_, "application {}: did not stop in time, killing {}", definition_.name,
                   definition_.unit);
      // Not through the queue: `systemctl stop` is waiting in it.
      kill_.run(setup_of({systemctl_, "kill", "--kill-who=all", "--signal=SIGKILL", definition_.unit}),
                systemctl_timeout, [](const command_result&) {});
    });
    if (!first) return;
    check_.abandon();
    cancel(start_timer_);
    enter(application_state::stopping, fmt::format("stopping {}", definition_.unit));
    answer_all(start_answers_, absl::AbortedError(fmt::format("{} was stopped", definition_.name)));
    // A start that waits in systemd is cancelled by the stop; the command that waits for it must not hold us
    // up.
    queue_.clear();
    command_.abandon();
    busy_ = false;
    call({"stop", definition_.unit}, std::max(grace, definition_.stop_grace) + systemctl_timeout,
         [this](const command_result& result) {
           cancel(kill_timer_);
           if (result.status.ok()) {
             stopped();
             return;
           }
           // A unit that is unknown or was never started cannot be stopped, and need not be.
           call({"show", "--property=ActiveState", "--value", definition_.unit}, systemctl_timeout,
                [this, failure = result.status](const command_result& shown) {
                  if (shown.status.ok() && (shown.output == "inactive\n" || shown.output == "failed\n")) {
                    stopped();
                    return;
                  }
                  enter(application_state::failed,
                        fmt::format("could not be stopped: {}", message_of(failure)));
                  answer_all(stop_answers_, failure);
                  look_later();
                });
         });
  }

 private:
  struct call_entry {
    std::vector<std::string> arguments;
    std::chrono::milliseconds timeout;
    short_command::answer done;
  };

  static process_setup setup_of(std::vector<std::string> command) {
    return {std::move(command), {}, "", "", {}, -1};
  }

  void stopped() {
    forget_main_process();
    status_.pid = 0;
    if (remove_drop_in(runtime_units_, definition_)) {
      call({"daemon-reload"}, systemctl_timeout, [](const command_result&) {});
    }
    enter(application_state::stopped, "stopped");
    answer_all(stop_answers_, absl::OkStatus());
    // Somebody may start it behind our back, and whoever keeps the right to run wants to know.
    look_pause_ = definition_.check_interval;
    look_later();
  }

  void call(std::vector<std::string> arguments, std::chrono::milliseconds timeout,
            short_command::answer done) {
    queue_.push_back({std::move(arguments), timeout, std::move(done)});
    next_call();
  }

  void next_call() {
    if (command_.running() || busy_ || queue_.empty()) return;
    call_entry entry = std::move(queue_.front());
    queue_.pop_front();
    entry.arguments.insert(entry.arguments.begin(), {systemctl_, "--no-ask-password", "--no-pager"});
    busy_ = true;
    command_.run(setup_of(std::move(entry.arguments)), entry.timeout,
                 [this, done = std::move(entry.done)](const command_result& result) {
                   busy_ = false;
                   done(result);
                   next_call();
                 });
  }

  void look() {
    cancel(look_timer_);
    call({"show", "--property=LoadState,ActiveState,SubState,MainPID,NRestarts,Result", definition_.unit},
         systemctl_timeout, [this](const command_result& result) { looked(result); });
  }
  void look_later() {
    cancel(look_timer_);
    look_timer_ = loop_.after(look_pause_, [this] {
      look_timer_ = 0;
      look();
    });
  }

  void looked(const command_result& result) {
    std::map<std::string, std::string> property;
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t equal = line.find('=');
      if (equal != std::string::npos) property[line.substr(0, equal)] = line.substr(equal + 1);
    }
    const std::vector<answer> adopters = std::exchange(adopt_answers_, {});
    if (status_.state != application_state::stopping) apply(result.status, property);
    for (const answer& done : adopters) done(absl::OkStatus());
  }

  void apply(const absl::Status& status, std::map<std::string, std::string>& property) {
    if (!status.ok()) {
      enter(application_state::failed, fmt::format("systemd cannot be asked: {}", message_of(status)));
      look_later();
      return;
    }
    const std::string& active = property["ActiveState"];
    std::istringstream(property["NRestarts"]) >> status_.restarts;
    if (active == "active" || active == "reloading") {
      follow_main_process(property["MainPID"]);
      is_active();
      return;
    }
    forget_main_process();
    status_.pid = 0;
    if (active == "activating" || active == "deactivating") {
      if (status_.state != application_state::starting)
        enter(application_state::starting, fmt::format("{} ({})", active, property["SubState"]));
      look_pause_ = std::min(look_pause_ * 2, definition_.check_interval);
      look_later();
      return;
    }
    if (property["LoadState"] == "not-found") {
      start_failed(absl::NotFoundError(fmt::format("there is no unit {} on this machine", definition_.unit)));
      return;
    }
    if (active == "failed" || status_.state == application_state::running ||
        status_.state == application_state::starting) {
      start_failed(absl::AbortedError(fmt::format("{} ended: {}", definition_.unit, property["Result"])));
      return;
    }
    // Inactive and nobody here asked for more: it may still be started by the administrator, which a look
    // tells.
    if (status_.state != application_state::stopped) enter(application_state::stopped, "stopped");
    look_pause_ = definition_.check_interval;
    look_later();
  }

  void is_active() {
    if (definition_.check.empty()) {
      if (status_.state != application_state::running) serving(fmt::format("{} is active", definition_.unit));
      look_pause_ = definition_.check_interval;
      look_later();
      return;
    }
    if (status_.state == application_state::stopped || status_.state == application_state::failed) {
      enter(application_state::starting, fmt::format("{} is active", definition_.unit));
    }
    check_.abandon();
    process_setup setup{definition_.check, definition_.environment, definition_.working_directory,
                        definition_.user,  definition_.binds,       -1};
    check_.run(setup, definition_.check_timeout, [this](const command_result& result) {
      if (status_.state == application_state::stopping) return;
      if (result.status.ok()) {
        if (status_.state != application_state::running) serving("serves: its check succeeded");
        look_pause_ = definition_.check_interval;
      } else {
        last_check_ = std::string(message_of(result.status));
        if (status_.state != application_state::starting) {
          enter(application_state::unhealthy, fmt::format("its check fails: {}", last_check_));
        }
        look_pause_ = std::min(look_pause_ * 2, definition_.check_interval);
      }
      look_later();
    });
  }

  void serving(const std::string& event) {
    cancel(start_timer_);
    enter(application_state::running, event);
    answer_all(start_answers_, absl::OkStatus());
  }

  void start_failed(const absl::Status& status) {
    cancel(start_timer_);
    enter(application_state::failed, std::string(message_of(status)));
    answer_all(start_answers_,
               absl::Status(status.code(), fmt::format("{}: {}", definition_.name, message_of(status))));
    look_pause_ = definition_.check_interval;
    look_later();
  }

  void follow_main_process(const std::string& text) {
    pid_t pid = 0;
    std::istringstream(text) >> pid;
    if (pid == status_.pid && (pid == 0 || main_process_)) return;
    forget_main_process();
    status_.pid = pid;
    if (pid == 0) return;
    const std::optional<process_identity> identity = identify(pid);
    if (identity) main_process_ = open_process(*identity);
    if (!main_process_) return;
    loop_.watch(main_process_.value(), [this] {
      forget_main_process();
      if (status_.state != application_state::stopping) look();
    });
  }
  void forget_main_process() {
    if (main_process_) loop_.unwatch(main_process_.value());
    main_process_.reset();
  }

  void cancel(event_loop::timer_id& timer) { loop_.cancel(std::exchange(timer, 0)); }
  static void answer_all(std::vector<answer>& answers, const absl::Status& status) {
    for (const answer& done : std::exchange(answers, {})) {
      if (done) done(status);
    }
  }

  std::string systemctl_;
  std::string runtime_units_;
  short_command command_;
  short_command check_;
  short_command kill_{loop_};
  std::deque<call_entry> queue_;
  bool busy_ = false;
  os::unique_fd main_process_;
  std::chrono::milliseconds look_pause_{first_look};
  event_loop::clock::time_point kill_at_{};
  std::string last_check_;
  event_loop::timer_id look_timer_ = 0;
  event_loop::timer_id kill_timer_ = 0;
  event_loop::timer_id start_timer_ = 0;
  std::vector<answer> start_answers_;
  std::vector<answer> stop_answers_;
  std::vector<answer> adopt_answers_;
};

}  // namespace

std::unique_ptr<application_runner> make_unit_application(application_definition definition, event_loop& loop,
                                                          std::string subject, std::string systemctl,
                                                          std::string runtime_units,
                                                          std::function<void()> changed) {
  return std::make_unique<unit_application>(std::move(definition), loop, std::move(subject),
                                            std::move(systemctl), std::move(runtime_units),
                                            std::move(changed));
}

}  // namespace understudy::application
