// status [NAME] [-w], explain

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <map>
#include <memory>

#include "agent-failover/ctl/follow.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

constexpr std::size_t EVENTS_ON_SCREEN = 5;  // lines below the table of `status -w`

verb_result status_once(session& s, const std::string& name) {
  v1::GetStatusRequest request;
  request.set_server(name);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto status, s.ask<v1::GetStatusResponse>(request));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto host, s.host());
  const auto code = is_healthy(status) ? exit_code::ok : exit_code::degraded;
  const bool one = !name.empty() && status.servers_size() == 1;
  return show(s, status,
              one ? server_view(status.servers(0), view_of(s)) : status_table(status, host, view_of(s)),
              code);
}

// The screen of `status -w`: what is known, drawn anew whenever it changed and every second for the ages.
class status_screen {
 public:
  status_screen(session& s, std::string host) : s_(s), host_(std::move(host)) {}

  absl::Status take(const v1::WatchResponse& update) {
    if (s_.json()) return s_.print_line(update);
    heard_ = std::chrono::system_clock::now();
    if (update.has_server()) {
      if (!s_.screen().out_is_tty()) print_change(update.server());
      servers_[update.server().name()] = update.server();
    } else if (update.has_host()) {
      host_state_ = update.host();
    } else if (update.update_case() == v1::WatchResponse::kRemovedServer) {
      servers_.erase(update.removed_server());
    } else if (update.has_event()) {
      events_.push_back(update.event());
      if (events_.size() > EVENTS_ON_SCREEN) events_.erase(events_.begin());
    }
    return absl::OkStatus();
  }

  absl::Status draw(bool connected) {
    if (s_.json() || !s_.screen().out_is_tty()) return absl::OkStatus();
    v1::GetStatusResponse status;
    for (const auto& [name, state] : servers_) *status.add_servers() = state;
    *status.mutable_host() = host_state_;
    const auto how = view_of(s_);
    std::string text;
    if (!connected) {
      const auto age = std::chrono::duration_cast<std::chrono::seconds>(how.now - heard_);
      text += tinted(fmt::format("NO CONNECTION: what follows is {} old", duration_text(age)), tint::bad,
                     how.colored) +
              "\n";
    }
    text += status_table(status, host_, how);
    if (!events_.empty()) text += "\n";
    for (const auto& event : events_) {
      text += fmt::format("{} {} {}\n", time_text(event.at()), event.server(), printable(event.text()));
    }
    s_.screen().out_screen(text);
    return absl::OkStatus();
  }

 private:
  void print_change(const v1::ServerState& state) {
    const auto before = servers_.find(state.name());
    const bool changed = before == servers_.end() || before->second.status() != state.status() ||
                         before->second.reason() != state.reason();
    if (!changed) return;
    s_.screen().out(state_line(state, view_of(s_)));
    s_.screen().flush();
  }

  session& s_;
  std::string host_;
  std::map<std::string, v1::ServerState> servers_;
  v1::HostState host_state_;
  std::vector<v1::Event> events_;
  clock_time heard_ = std::chrono::system_clock::now();
};

verb_result status_watch(session& s, const std::string& name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto host, s.host());
  v1::WatchRequest request;
  if (!name.empty()) {
    // Watch says nothing about a name it does not know; this does.
    v1::GetStatusRequest known;
    known.set_server(name);
    UNDERSTUDY_RETURN_IF_ERROR(s.ask<v1::GetStatusResponse>(known).status());
    request.add_servers(name);
  }
  status_screen screen{s, host};
  return watch(s, request,
               {[&](const auto& update) { return screen.take(update); },
                [&](bool connected) { return screen.draw(connected); }});
}

}  // namespace

void add_status_verbs(CLI::App& root, session& s) {
  auto name = std::make_shared<std::string>();
  auto follow = std::make_shared<bool>(false);
  auto* status = root.add_subcommand(
      "status", "the state of all servers, or of one in full; exit code 3 if not all is OK");
  status->add_option("NAME", *name, "the server");
  status->add_flag("-w,--watch", *follow, "follow live until interrupted");
  on(status, s, [&s, name, follow] { return *follow ? status_watch(s, *name) : status_once(s, *name); });

  auto* explain = root.add_subcommand("explain", "what a server is doing, why, and what can happen next");
  add_server_name(explain, name.get());
  on(explain, s, [&s, name]() -> verb_result {
    v1::ExplainRequest request;
    request.set_server(*name);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto explained, s.ask<v1::ExplainResponse>(request));
    return show(s, explained, explain_view(explained, view_of(s)));
  });
}

}  // namespace understudy::ctl
