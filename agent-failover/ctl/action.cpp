#include "agent-failover/ctl/action.hpp"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <chrono>

#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "agent-failover/ctl/operation_text.hpp"
#include "common/status/status_macros.hpp"
#include "google/protobuf/util/time_util.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds LOOK_EVERY{500};        // ms between two looks at a running operation
constexpr milliseconds ANSWER_MARGIN{10'000};  // ms the host may take longer than the wait it was asked for
constexpr milliseconds LOST_PATIENCE{
    30'000};  // ms without the host until waiting for the operation is given up
constexpr milliseconds PLAIN_LINE_EVERY{5000};  // ms between two progress lines of one phase in a log

// Prints progress: one line that changes on a terminal, a line now and then elsewhere.
class progress_printer {
 public:
  explicit progress_printer(terminal& screen) : screen_(screen) {}

  void show(const v1::Operation& operation, steady_clock::time_point now) {
    const auto line = progress_text(operation);
    if (screen_.err_is_tty()) {
      screen_.progress(line);
      return;
    }
    const bool due = operation.phase() != phase_ || now - printed_at_ >= PLAIN_LINE_EVERY;
    if (!due || line == last_) return;
    screen_.err(line + "\n");
    phase_ = operation.phase();
    printed_at_ = now;
    last_ = line;
  }

 private:
  terminal& screen_;
  std::string phase_;
  std::string last_;
  steady_clock::time_point printed_at_{};
};

absl::Status still_running(const v1::Operation& operation, absl::StatusCode code, std::string_view why) {
  const absl::Status status{code, fmt::format("{}: {} goes on", why, operation.name())};
  return with_hint(
      with_hint(status, fmt::format("wait for it: understudyctl operation wait {}", operation.name())),
      fmt::format("end it: understudyctl operation cancel {}", operation.name()));
}

verb_result ended(session& s, const v1::Operation& operation) {
  if (s.json()) {
    UNDERSTUDY_RETURN_IF_ERROR(s.print_document(operation));
  } else if (operation.error().code() == 0) {
    s.screen().out(result_text(operation) + "\n");
  }
  auto status = status_of(operation.error());
  if (!status.ok() && !has_help(status) && !operation.server().empty()) {
    status = with_hint(status, fmt::format("see why: understudyctl explain {}", operation.server()));
  }
  if (!status.ok()) return status;
  return exit_code::ok;
}

}  // namespace

void add_action_options(CLI::App* verb, action_options* options, waits kind) {
  verb->add_flag("--yes,-y", options->yes, "do not ask");
  verb->add_flag("--dry-run", options->dry_run, "check and say what would happen; change nothing");
  if (kind == waits::no) return;
  verb->add_flag("--wait,!--no-wait", options->wait, "wait for the end (default), or only begin");
}

absl::Status may_proceed(session& s, const action_options& options) {
  if (options.yes || s.screen().can_ask()) return absl::OkStatus();
  return with_hint(with_hint(absl::InvalidArgumentError("there is no terminal to confirm on"),
                             "to go on without being asked: --yes"),
                   "to see what would happen: --dry-run");
}

absl::Status confirm(session& s, const action_options& options, const std::string& subject,
                     const std::string& effect) {
  if (!effect.empty()) s.screen().err(effect + "\n");
  if (options.yes) return absl::OkStatus();
  const auto typed = s.screen().ask(fmt::format("Type \"{}\" to go on: ", subject));
  if (typed && *typed == subject) return absl::OkStatus();
  return absl::CancelledError("not confirmed; nothing was changed");
}

verb_result follow(session& s, v1::Operation operation, bool wait) {
  if (!wait && !operation.done()) {
    if (s.json()) {
      UNDERSTUDY_RETURN_IF_ERROR(s.print_document(operation));
    } else {
      s.screen().out(operation.name() + "\n");
    }
    return exit_code::ok;
  }
  progress_printer progress{s.screen()};
  const auto begun = steady_clock::now();
  auto last_contact = begun;
  while (!operation.done()) {
    const auto now = steady_clock::now();
    progress.show(operation, now);
    if (s.timeout() && now - begun >= *s.timeout()) {
      return still_running(operation, absl::StatusCode::kDeadlineExceeded, "not done in time");
    }
    auto period = LOOK_EVERY;
    if (s.timeout()) {
      const auto left = std::chrono::duration_cast<milliseconds>(begun + *s.timeout() - now);
      period = std::max(milliseconds{1}, std::min(period, left));
    }
    v1::WaitOperationRequest request;
    request.set_name(operation.name());
    *request.mutable_period() = google::protobuf::util::TimeUtil::MillisecondsToDuration(period.count());
    v1::WaitOperationResponse response;
    const auto status = s.call(request, &response, period + ANSWER_MARGIN);
    if (interrupted()) return still_running(operation, absl::StatusCode::kCancelled, "interrupted");
    const auto code = status.code();
    const bool lost = code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded;
    if (!status.ok() && (!lost || steady_clock::now() - last_contact >= LOST_PATIENCE)) return status;
    if (status.ok()) {
      last_contact = steady_clock::now();
      operation = response.operation();
    } else {
      s.screen().progress(
          fmt::format("{}: no connection to the failover host, trying again", operation.name()));
      UNDERSTUDY_RETURN_IF_ERROR(s.pause(LOOK_EVERY));
    }
  }
  s.screen().end_progress();
  return ended(s, operation);
}

}  // namespace understudy::ctl
