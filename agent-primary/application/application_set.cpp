#include "agent-primary/application/application_set.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "agent-primary/application/application_runner.hpp"
#include "agent-primary/application/event_loop.hpp"
#include "agent-primary/application/short_command.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::application {
namespace {

constexpr std::chrono::seconds version_timeout{10};
constexpr std::chrono::seconds adoption_timeout{20};  // systemd may be busy at boot

absl::Status check_definitions(const std::vector<application_definition>& definitions) {
  std::set<std::string> names;
  for (const application_definition& d : definitions) {
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (d.name.empty() || d.name.front() == '.' || d.name.size() > 100 ||
        d.name.find_first_not_of(allowed) != std::string::npos) {
      return absl::InvalidArgumentError(fmt::format(
          "\"{}\" cannot be the name of an application: use letters, digits, '-', '_' and '.'", d.name));
    }
    if (!names.insert(d.name).second)
      return absl::InvalidArgumentError(fmt::format("two applications are named \"{}\"", d.name));
    if (d.unit.empty() == d.start.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("application \"{}\" needs either a unit or a start command", d.name));
    }
    if (d.unit.find('/') != std::string::npos || d.unit.starts_with("-")) {
      return absl::InvalidArgumentError(fmt::format("\"{}\" is not the name of a unit", d.unit));
    }
  }
  return absl::OkStatus();
}

}  // namespace

class application_set::implementation {
 public:
  implementation(std::vector<application_definition> definitions, set_options given)
      : options(std::move(given)), all(std::move(definitions)) {}

  // -- on the loop's thread

  void make_runners(const std::function<void()>& done) {
    for (const application_definition& d : all) {
      const auto changed = [this] { publish(); };
      runners.push_back(d.unit.empty() ? make_command_application(d, loop, options.subject,
                                                                  options.state_directory, changed)
                                       : make_unit_application(d, loop, options.subject, options.systemctl,
                                                               options.runtime_units, changed));
    }
    auto open_answers = std::make_shared<std::size_t>(runners.size() + 1);
    const auto one_done = [this, open_answers, done](const absl::Status&) {
      if (--*open_answers != 0) return;
      adopted = true;
      publish();
      done();
    };
    for (const auto& runner : runners) runner->adopt(one_done);
    one_done(absl::OkStatus());
  }

  void publish() {
    if (!adopted) return;
    std::vector<application_status> snapshot;
    bool down = true;
    for (const auto& runner : runners) {
      snapshot.push_back(runner->status());
      down = down && runner->down();
    }
    {
      std::lock_guard lock(mutex);
      statuses = snapshot;
      everything_down = down;
    }
    if (options.on_change) options.on_change(snapshot);
  }

  void start_from(std::size_t index, std::uint64_t order, const answer& done) {
    if (order != order_) return done(absl::AbortedError("stopped meanwhile"));
    if (index == runners.size()) return done(absl::OkStatus());
    runners[index]->start([this, index, order, done](const absl::Status& status) {
      if (!status.ok()) return done(status);
      start_from(index + 1, order, done);
    });
  }

  void stop_from(std::size_t count, std::chrono::milliseconds grace, const absl::Status& so_far,
                 const answer& done) {
    if (count == 0) {
      publish();
      return done(so_far);
    }
    application_runner& runner = *runners[count - 1];
    const std::chrono::milliseconds own = grace.count() > 0 ? grace : runner.definition().stop_grace;
    runner.stop(own, [this, count, grace, so_far, done](const absl::Status& status) {
      // One that will not stop does not keep the others up.
      stop_from(count - 1, grace, so_far.ok() ? status : so_far, done);
    });
  }

  void control(const std::string& name, command what, const answer& done) {
    if (name.empty()) {
      if (what == command::start) return start_from(0, order_, done);
      ++order_;
      return stop_from(runners.size(), std::chrono::milliseconds{0}, absl::OkStatus(),
                       [this, what, done](const absl::Status& status) {
                         if (!status.ok() || what == command::stop) return done(status);
                         start_from(0, order_, done);
                       });
    }
    const auto found = std::find_if(runners.begin(), runners.end(),
                                    [&](const auto& runner) { return runner->definition().name == name; });
    if (found == runners.end())
      return done(absl::NotFoundError(fmt::format("there is no application \"{}\"", name)));
    application_runner* runner = found->get();
    if (what == command::start) return runner->start(done);
    runner->stop(runner->definition().stop_grace, [this, runner, what, done](const absl::Status& status) {
      publish();
      if (!status.ok() || what == command::stop) return done(status);
      runner->start(done);
    });
  }

  set_options options;
  const std::vector<application_definition> all;
  std::vector<std::unique_ptr<application_runner>> runners;
  std::uint64_t order_ = 0;  // grows with each stop: a start in progress then ends
  bool adopted = false;

  std::mutex mutex;
  std::vector<application_status> statuses;  // under mutex
  bool everything_down = true;               // under mutex

  event_loop loop;  // last: its thread uses the rest
};

absl::StatusOr<std::unique_ptr<application_set>> application_set::open(
    std::vector<application_definition> definitions, set_options options) {
  UNDERSTUDY_RETURN_IF_ERROR(check_definitions(definitions));
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(os::posix_file_system(), options.state_directory));
  auto parts = std::make_unique<implementation>(std::move(definitions), std::move(options));
  auto adopted = std::make_shared<std::promise<void>>();
  parts->loop.post([raw = parts.get(), adopted] { raw->make_runners([adopted] { adopted->set_value(); }); });
  std::unique_ptr<application_set> result(new application_set(std::move(parts)));
  if (adopted->get_future().wait_for(adoption_timeout) != std::future_status::ready) {
    return absl::DeadlineExceededError("systemd does not answer; check `systemctl is-system-running`");
  }
  return result;
}

application_set::application_set(std::unique_ptr<implementation> parts) : implementation_(std::move(parts)) {}

application_set::~application_set() {
  // Runners belong to the loop's thread, and their last answers are given there.
  std::promise<void> gone;
  implementation_->loop.post([this, &gone] {
    implementation_->adopted = false;
    implementation_->runners.clear();
    gone.set_value();
  });
  gone.get_future().wait();
  implementation_->loop.stop();
}

void application_set::start_all(answer done) {
  implementation_->loop.post(
      [parts = implementation_.get(), done = std::move(done)] { parts->start_from(0, parts->order_, done); });
}

void application_set::stop_all(std::chrono::milliseconds grace, answer done) {
  implementation_->loop.post([parts = implementation_.get(), grace, done = std::move(done)] {
    ++parts->order_;
    parts->stop_from(parts->runners.size(), grace, absl::OkStatus(), done);
  });
}

void application_set::control(const std::string& name, command what, answer done) {
  implementation_->loop.post([parts = implementation_.get(), name, what, done = std::move(done)] {
    parts->control(name, what, done);
  });
}

namespace {

absl::Status wait_for(std::chrono::milliseconds deadline,
                      const std::function<void(application_set::answer)>& call) {
  auto result = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> answered = result->get_future();
  call([result](const absl::Status& status) { result->set_value(status); });
  if (answered.wait_for(deadline) != std::future_status::ready) {
    return absl::DeadlineExceededError(fmt::format("not done within {} ms", deadline.count()));
  }
  return answered.get();
}

}  // namespace

absl::Status application_set::wait_start_all(std::chrono::milliseconds deadline) {
  return wait_for(deadline, [this](answer done) { start_all(std::move(done)); });
}
absl::Status application_set::wait_stop_all(std::chrono::milliseconds grace,
                                            std::chrono::milliseconds deadline) {
  return wait_for(deadline, [this, grace](answer done) { stop_all(grace, std::move(done)); });
}
absl::Status application_set::wait_control(const std::string& name, command what,
                                           std::chrono::milliseconds deadline) {
  return wait_for(deadline, [this, &name, what](answer done) { control(name, what, std::move(done)); });
}

std::vector<application_status> application_set::status() const {
  std::lock_guard lock(implementation_->mutex);
  return implementation_->statuses;
}

bool application_set::all_down() const {
  std::lock_guard lock(implementation_->mutex);
  return implementation_->everything_down;
}

const std::vector<application_definition>& application_set::definitions() const {
  return implementation_->all;
}

void application_set::note_down(const std::string& why) {
  implementation_->loop.post([parts = implementation_.get(), why] {
    for (const auto& runner : parts->runners) {
      if (runner->status().state == application_state::stopped) runner->note(why);
    }
  });
}

absl::StatusOr<std::string> application_set::version(const std::string& name) {
  const auto found = std::find_if(implementation_->all.begin(), implementation_->all.end(),
                                  [&](const application_definition& d) { return d.name == name; });
  if (found == implementation_->all.end())
    return absl::NotFoundError(fmt::format("there is no application \"{}\"", name));
  if (found->version.empty()) return std::string();
  auto promise = std::make_shared<std::promise<command_result>>();
  std::future<command_result> answered = promise->get_future();
  implementation_->loop.post([parts = implementation_.get(), promise, d = *found] {
    auto command = std::make_shared<short_command>(parts->loop);
    command->run({d.version, d.environment, d.working_directory, d.user, {}, -1}, version_timeout,
                 [command, promise](const command_result& result) { promise->set_value(result); });
  });
  if (answered.wait_for(version_timeout + std::chrono::seconds{5}) != std::future_status::ready) {
    return absl::DeadlineExceededError(fmt::format("the version of {} was not told in time", name));
  }
  command_result result = answered.get();
  if (!result.status.ok()) return result.status;
  return result.output.substr(0, result.output.find('\n'));
}

}  // namespace understudy::application
