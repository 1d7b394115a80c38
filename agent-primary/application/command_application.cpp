#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "agent-primary/application/application_runner.hpp"
#include "agent-primary/application/child_process.hpp"
#include "agent-primary/application/process_identity.hpp"
#include "agent-primary/application/short_command.hpp"
#include "agent-primary/application/stray_processes.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::application {
namespace {

constexpr off_t largest_log = 16 << 20;  // bytes; then the log moves to NAME.log.1 at the next start
constexpr std::chrono::milliseconds first_check{
    100};  // after the start; doubles up to check_interval until it serves
constexpr std::chrono::milliseconds strays_end{500};  // a killed process is gone in a few
constexpr std::chrono::seconds settled{60};  // running this long, the next restart is a first one again

class command_application final : public application_runner {
 public:
  command_application(application_definition definition, event_loop& loop, std::string subject,
                      std::string directory, std::function<void()> changed)
      : application_runner(std::move(definition), loop, std::move(subject), std::move(changed)),
        directory_(std::move(directory)),
        check_(loop) {}

  ~command_application() override {
    if (descriptor_) loop_.unwatch(descriptor_.value());
    for (const event_loop::timer_id timer : {restart_timer_, check_timer_, start_timer_, kill_timer_})
      loop_.cancel(timer);
    answer_start(absl::CancelledError("the daemon is stopping"));
    answer_stop(absl::CancelledError("the daemon is stopping"));
  }

  bool down() const override { return !descriptor_ && restart_timer_ == 0; }

  void adopt(answer done) override {
    std::ifstream file(record_path());
    std::string line;
    if (std::getline(file, line)) {
      if (const std::optional<process_identity> identity = parse_identity(line)) {
        if (os::unique_fd descriptor = open_process(*identity)) {
          child_ = false;
          process_started(identity->pid, std::move(descriptor),
                          fmt::format("found running, process {}", identity->pid));
        } else {
          remove_record();
          enter(application_state::stopped, "ended while the daemon was down");
        }
      }
    }
    done(absl::OkStatus());
  }

  void start(answer done) override {
    switch (status_.state) {
      case application_state::running:
      case application_state::unhealthy:
        done(absl::OkStatus());
        return;
      case application_state::starting:
        add(start_answers_, std::move(done));
        return;
      case application_state::stopping:
        done(absl::FailedPreconditionError(fmt::format("{} is being stopped", definition_.name)));
        return;
      case application_state::stopped:
      case application_state::failed:
        break;
    }
    cancel(restart_timer_);
    status_.restarts = 0;
    pause_ = definition_.first_restart;
    add(start_answers_, std::move(done));
    launch();
  }

  void stop(std::chrono::milliseconds grace, answer done) override {
    cancel(restart_timer_);
    if (!descriptor_) {
      answer_start(absl::AbortedError(fmt::format("{} was stopped", definition_.name)));
      if (status_.state != application_state::stopped) enter(application_state::stopped, "stopped");
      done(absl::OkStatus());
      return;
    }
    add(stop_answers_, std::move(done));
    const event_loop::clock::time_point kill_at = event_loop::clock::now() + grace;
    if (status_.state == application_state::stopping && kill_at >= kill_at_) return;
    const bool first = status_.state != application_state::stopping;
    kill_at_ = kill_at;
    cancel(kill_timer_);
    kill_timer_ = loop_.after(grace, [this] {
      kill_timer_ = 0;
      log::warning(subject_, "application {}: did not stop in time, killing it", definition_.name);
      killed_ = true;
      ::kill(-status_.pid, SIGKILL);
    });
    if (!first) return;
    check_.abandon();
    cancel(check_timer_);
    cancel(start_timer_);
    enter(application_state::stopping, "asked to stop");
    ::kill(-status_.pid, SIGTERM);
    answer_start(absl::AbortedError(fmt::format("{} was stopped", definition_.name)));
  }

 private:
  std::string record_path() const { return directory_ + "/" + definition_.name + ".run"; }
  // Unique on the machine: the directory belongs to one set of applications.
  std::string mark() const { return "UNDERSTUDY_APPLICATION=" + directory_ + "/" + definition_.name; }
  std::string log_path() const { return directory_ + "/" + definition_.name + ".log"; }
  void remove_record() { ::unlink(record_path().c_str()); }

  process_setup setup_of(const std::vector<std::string>& command) const {
    return {command,          definition_.environment, definition_.working_directory,
            definition_.user, definition_.binds,       -1};
  }

  os::unique_fd open_log() const {
    struct ::stat status {};
    if (::stat(log_path().c_str(), &status) == 0 && status.st_size > largest_log) {
      ::rename(log_path().c_str(), (log_path() + ".1").c_str());
    }
    return os::unique_fd(::open(log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  }

  absl::Status write_record(pid_t pid) const {
    const std::optional<process_identity> identity = identify(pid);
    if (!identity) return absl::InternalError("the new process vanished");
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::unique_ptr<os::directory> directory,
                                os::posix_file_system().open_root(directory_));
    return os::replace_file(*directory, definition_.name + ".run", format_identity(*identity));
  }

  void launch() {
    const os::unique_fd output = open_log();
    process_setup setup = setup_of(definition_.start);
    setup.output = output.value();
    setup.environment.push_back(mark());
    absl::StatusOr<child_process> child =
        start_process(setup, [this](pid_t pid) { return write_record(pid); });
    if (!child.ok()) {
      remove_record();
      const std::string reason = fmt::format("could not be started: {}", message_of(child.status()));
      unexpected_end(reason);
      return;
    }
    child_ = true;
    const pid_t pid = child->pid;
    process_started(pid, std::move(child->descriptor), fmt::format("started, process {}", pid));
  }

  void process_started(pid_t pid, os::unique_fd descriptor, const std::string& event) {
    descriptor_ = std::move(descriptor);
    status_.pid = pid;
    killed_ = false;
    started_at_ = event_loop::clock::now();
    loop_.watch(descriptor_.value(), [this] { process_ended(); });
    if (definition_.check.empty()) {
      enter(application_state::running, event);
      answer_start(absl::OkStatus());
      return;
    }
    enter(application_state::starting, event);
    check_pause_ = std::min(first_check, definition_.check_interval);
    cancel(start_timer_);
    start_timer_ = loop_.after(definition_.start_timeout, [this] {
      start_timer_ = 0;
      const std::string reason =
          fmt::format("its check does not succeed{}", last_check_.empty() ? "" : ": " + last_check_);
      enter(application_state::unhealthy, reason);
      answer_start(absl::DeadlineExceededError(fmt::format("{}: {}", definition_.name, reason)));
    });
    check_soon();
  }

  void check_soon() {
    cancel(check_timer_);
    check_timer_ = loop_.after(check_pause_, [this] {
      check_timer_ = 0;
      check_.run(setup_of(definition_.check), definition_.check_timeout,
                 [this](const command_result& result) {
                   if (!descriptor_ || status_.state == application_state::stopping) return;
                   checked(result);
                 });
    });
  }

  void checked(const command_result& result) {
    if (result.status.ok()) {
      check_pause_ = definition_.check_interval;
      cancel(start_timer_);
      if (status_.state != application_state::running)
        enter(application_state::running, "serves: its check succeeded");
      answer_start(absl::OkStatus());
    } else {
      last_check_ = std::string(message_of(result.status));
      if (status_.state == application_state::running) {
        enter(application_state::unhealthy, fmt::format("its check fails: {}", last_check_));
      }
      check_pause_ = std::min(
          status_.state == application_state::starting ? check_pause_ * 2 : definition_.check_interval,
          definition_.check_interval);
    }
    check_soon();
  }

  void process_ended() {
    loop_.unwatch(descriptor_.value());
    // What it left in its session's first group goes too. Our own child is still a zombie, so the id is still
    // its own; of an adopted one the group keeps the id in use unless it is empty.
    ::kill(-status_.pid, SIGKILL);
    if (const int strays = kill_stray_processes(mark(), strays_end); strays > 0) {
      log::info(subject_, "application {}: killed what it had left behind outside its group: {} process(es)",
                definition_.name, strays);
    }
    std::string how = "ended";
    if (child_) {
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(status_.pid), &info, WEXITED) == 0) {
        how = describe_exit(info.si_code, info.si_status);
      }
    }
    descriptor_.reset();
    remove_record();
    status_.pid = 0;
    check_.abandon();
    cancel(check_timer_);
    cancel(start_timer_);
    cancel(kill_timer_);
    if (status_.state == application_state::stopping) {
      enter(application_state::stopped, killed_ ? "stopped: killed after its grace" : "stopped");
      answer_stop(absl::OkStatus());
      return;
    }
    if (event_loop::clock::now() - started_at_ >= settled) pause_ = definition_.first_restart;
    unexpected_end(how);
  }

  void unexpected_end(const std::string& how) {
    restart_timer_ = loop_.after(pause_, [this] {
      restart_timer_ = 0;
      ++status_.restarts;
      launch();
    });
    enter(application_state::failed, fmt::format("{}; starting it again in {} ms", how, pause_.count()));
    pause_ = std::min(pause_ * 2, definition_.longest_restart);
    answer_start(absl::AbortedError(fmt::format("{}: {}", definition_.name, how)));
  }

  void cancel(event_loop::timer_id& timer) { loop_.cancel(std::exchange(timer, 0)); }
  static void add(std::vector<answer>& answers, answer done) {
    if (done) answers.push_back(std::move(done));
  }
  void answer_start(const absl::Status& status) {
    for (const answer& done : std::exchange(start_answers_, {})) done(status);
  }
  void answer_stop(const absl::Status& status) {
    for (const answer& done : std::exchange(stop_answers_, {})) done(status);
  }

  std::string directory_;
  os::unique_fd descriptor_;  // of the running process
  bool child_ = false;        // ours to reap; adopted ones are init's
  bool killed_ = false;
  event_loop::clock::time_point started_at_{};
  event_loop::clock::time_point kill_at_{};
  std::chrono::milliseconds pause_{definition_.first_restart};
  std::chrono::milliseconds check_pause_{first_check};
  short_command check_;
  std::string last_check_;
  event_loop::timer_id restart_timer_ = 0;
  event_loop::timer_id check_timer_ = 0;
  event_loop::timer_id start_timer_ = 0;
  event_loop::timer_id kill_timer_ = 0;
  std::vector<answer> start_answers_;
  std::vector<answer> stop_answers_;
};

}  // namespace

std::unique_ptr<application_runner> make_command_application(application_definition definition,
                                                             event_loop& loop, std::string subject,
                                                             std::string directory,
                                                             std::function<void()> changed) {
  return std::make_unique<command_application>(std::move(definition), loop, std::move(subject),
                                               std::move(directory), std::move(changed));
}

}  // namespace understudy::application
