// log [-f], events [-f], changes NAME [-f]

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <memory>

#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/follow.hpp"
#include "agent-failover/ctl/history_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/change_feed.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

constexpr std::chrono::milliseconds QUIET{
    1000};  // ms without a change after which `changes` without -f is done
constexpr std::chrono::milliseconds RETRY{1000};  // ms between two attempts to connect again
constexpr std::uint32_t page_events = 1000;       // asked for at once after a gap; the host may answer fewer

struct history_options {
  std::string server;
  bool follow = false;
  std::uint32_t limit = 100;
  std::uint64_t after = 0;
  std::string at_least;
};

v1::EventSeverity severity_of(const std::string& word) {
  if (word == "error") return v1::EVENT_SEVERITY_ERROR;
  if (word == "warning") return v1::EVENT_SEVERITY_WARNING;
  return word == "info" ? v1::EVENT_SEVERITY_INFO : v1::EVENT_SEVERITY_UNSPECIFIED;
}

v1::WatchRequest watch_request(const std::string& server) {
  v1::WatchRequest request;
  if (!server.empty()) request.add_servers(server);
  return request;
}

template <class Item>
absl::Status print_item(session& s, const Item& item, const std::string& text) {
  if (s.json()) return s.print_line(item);
  s.screen().out(text);
  s.screen().flush();
  return absl::OkStatus();
}

absl::Status nothing(bool /*connected*/) {
  return absl::OkStatus();
}

verb_result events(session& s, const history_options& o) {
  v1::ListEventsRequest request;
  request.set_server(o.server);
  request.set_limit(o.limit);
  request.set_after(o.after);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto listed, s.ask<v1::ListEventsResponse>(request));
  const auto wanted = severity_of(o.at_least);
  v1::ListEventsResponse shown;
  for (const auto& event : listed.events()) {
    if (event.severity() >= wanted) *shown.add_events() = event;
  }
  if (s.json() && !o.follow) return show(s, shown, "");
  for (const auto& event : shown.events())
    UNDERSTUDY_RETURN_IF_ERROR(print_item(s, event, event_line(event, view_of(s))));
  if (!o.follow) return exit_code::ok;

  auto watched = watch_request(o.server);
  watched.set_after_event(listed.events().empty() ? o.after : listed.events(listed.events_size() - 1).id());
  std::uint64_t last = watched.after_event();
  const auto take_event = [&](const v1::Event& event) -> absl::Status {
    // A resumed stream may repeat what was seen.
    if (event.id() <= last) return absl::OkStatus();
    last = event.id();
    if (event.severity() < wanted) return absl::OkStatus();
    return print_item(s, event, event_line(event, view_of(s)));
  };
  const auto take = [&](const v1::WatchResponse& update) -> absl::Status {
    if (update.has_event()) return take_event(update.event());
    if (update.gap().next_event() <= last + 1) return absl::OkStatus();
    // Away for longer than the stream goes back: the history has the rest.
    request.set_limit(page_events);
    request.set_oldest_first(true);
    for (;;) {
      request.set_after(last);
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto missed, s.ask<v1::ListEventsResponse>(request));
      if (missed.events().empty()) return absl::OkStatus();
      for (const auto& event : missed.events()) UNDERSTUDY_RETURN_IF_ERROR(take_event(event));
      if (last == request.after()) return absl::OkStatus();  // an answer that leads nowhere
    }
  };
  return watch(s, watched, {take, nothing});
}

verb_result log(session& s, const history_options& o) {
  v1::ListLogRequest request;
  request.set_server(o.server);
  request.set_limit(o.limit);
  request.set_at_least(severity_of(o.at_least));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto listed, s.ask<v1::ListLogResponse>(request));
  if (s.json() && !o.follow) return show(s, listed, "");
  for (const auto& line : listed.lines())
    UNDERSTUDY_RETURN_IF_ERROR(print_item(s, line, log_line(line, view_of(s))));
  if (!o.follow) return exit_code::ok;

  auto watched = watch_request(o.server);
  watched.set_log(true);
  watched.set_after_log(listed.lines().empty() ? 0 : listed.lines(listed.lines_size() - 1).id());
  std::uint64_t last = watched.after_log();
  const auto take = [&](const v1::WatchResponse& update) -> absl::Status {
    if (!update.has_log() || update.log().id() <= last) return absl::OkStatus();
    last = update.log().id();
    const bool other = !o.server.empty() && update.log().server() != o.server;
    if (other || update.log().severity() < request.at_least()) return absl::OkStatus();
    return print_item(s, update.log(), log_line(update.log(), view_of(s)));
  };
  return watch(s, watched, {take, nothing});
}

// Prints a change feed. With -f until SIGINT, and over lost connections from the last cursor on; without,
// until it is quiet.
template <class Request, class Change>
verb_result changes(session& s, Request request, bool follow, std::string (*line)(const Change&)) {
  bool was_connected = false;
  const auto begun = std::chrono::steady_clock::now();
  const auto timed_out = [&] {
    return s.timeout() && std::chrono::steady_clock::now() - begun >= *s.timeout();
  };
  while (true) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto stream, s.open(request));
    Change change;
    auto got = rpc_stream::item::idle;
    while ((got = stream->next(&change, QUIET)) != rpc_stream::item::end) {
      if (timed_out()) return absl::DeadlineExceededError("--timeout reached");
      if (got == rpc_stream::item::idle) {
        if (interrupted()) return absl::CancelledError("interrupted");
        if (!follow) return exit_code::ok;
        continue;
      }
      was_connected = true;
      if (!change.cursor().empty()) request.set_cursor(change.cursor());
      const auto text = line(change);
      if (!text.empty() || s.json()) UNDERSTUDY_RETURN_IF_ERROR(print_item(s, change, text));
    }
    const auto status = stream->status();
    if (interrupted()) return absl::CancelledError("interrupted");
    if (status.ok() && !follow) return exit_code::ok;
    const bool lost = status.ok() || status.code() == absl::StatusCode::kUnavailable;
    if (!lost || !follow || !was_connected)
      return status.ok() ? absl::UnavailableError("the failover host ended it") : status;
    s.screen().err(fmt::format("connection lost ({}); trying again\n", message_of(status)));
    UNDERSTUDY_RETURN_IF_ERROR(session::pause(RETRY));
  }
}

struct change_options {
  std::string server;
  std::string catalog;
  std::vector<std::string> tables;
  std::string cursor;
  bool files = false;
  std::string base;
  std::string under;
  std::vector<std::string> names;
  std::vector<std::string> kinds;
  bool follow = false;
};

// The words of --kind, as the lines and -o json have them.
std::vector<std::string> file_kind_words() {
  std::vector<std::string> words;
  for (int kind = v1::FILE_CHANGE_KIND_PUT; kind <= v1::FILE_CHANGE_KIND_UNCLEAR; ++kind)
    words.push_back(enum_text(v1::FileChangeKind_descriptor(), kind));
  return words;
}

v1::FileChangeKind file_kind_of(const std::string& word) {
  for (int kind = v1::FILE_CHANGE_KIND_PUT; kind <= v1::FILE_CHANGE_KIND_UNCLEAR; ++kind) {
    if (enum_text(v1::FileChangeKind_descriptor(), kind) == word)
      return static_cast<v1::FileChangeKind>(kind);
  }
  return v1::FILE_CHANGE_KIND_UNSPECIFIED;
}

verb_result changes(session& s, const change_options& o) {
  if (o.files) {
    v1::WatchFilesRequest request;
    request.set_server(o.server);
    request.set_cursor(o.cursor);
    request.set_base(o.base);
    request.set_under(o.under);
    for (const auto& name : o.names) request.add_names(name);
    for (const auto& kind : o.kinds) request.add_kinds(file_kind_of(kind));
    return changes(s, request, o.follow, &file_change_line);
  }
  v1::WatchRowsRequest request;
  request.set_server(o.server);
  request.set_catalog(o.catalog);
  for (const auto& table : o.tables) request.add_tables(table);
  request.set_cursor(o.cursor);
  return changes(s, request, o.follow, &row_change_line);
}

CLI::App* add_history_verb(CLI::App& root, const char* name, const char* description, history_options* o) {
  auto* verb = root.add_subcommand(name, description);
  verb->add_option("NAME", o->server, "only this server");
  verb->add_flag("-f,--follow", o->follow, "follow live until interrupted");
  verb->add_option("-n,--limit", o->limit, "at most so many of the past")->capture_default_str();
  verb->add_option("--at-least", o->at_least, "how bad")->check(CLI::IsMember({"info", "warning", "error"}));
  return verb;
}

}  // namespace

void add_history_verbs(CLI::App& root, session& s) {
  auto log_options = std::make_shared<history_options>();
  on(add_history_verb(root, "log", "the daemon's log", log_options.get()), s,
     [&s, log_options] { return log(s, *log_options); });

  auto event_options = std::make_shared<history_options>();
  auto* events_verb = add_history_verb(root, "events", "what happened", event_options.get());
  events_verb->add_option("--after", event_options->after, "only events after this id");
  on(events_verb, s, [&s, event_options] { return events(s, *event_options); });

  auto o = std::make_shared<change_options>();
  auto* verb = root.add_subcommand("changes", "row changes, or file changes, as they reach the copy");
  add_server_name(verb, &o->server);
  verb->add_flag("-f,--follow", o->follow, "follow live until interrupted; else end when it is quiet");
  verb->add_option("--cursor", o->cursor,
                   "from after this cursor (of an earlier -o json), or from the \"oldest\" kept");
  auto* files = verb->add_flag("--files", o->files, "file changes instead of row changes");
  verb->add_option("--database,--catalog", o->catalog, "only this database")->excludes(files);
  verb->add_option("--table", o->tables, "only this table; may be repeated")
      ->allow_extra_args(false)
      ->excludes(files);
  verb->add_option("--base", o->base, "with --files: only the file tree with this base directory")
      ->needs(files);
  verb->add_option("--under", o->under,
                   "with --files: only this path and what is below it, relative to the base")
      ->needs(files);
  verb->add_option("--name", o->names, "with --files: only names that fit this pattern; may be repeated")
      ->allow_extra_args(false)
      ->needs(files);
  verb->add_option("--kind", o->kinds, "with --files: only this kind of change; may be repeated")
      ->allow_extra_args(false)
      ->transform(CLI::IsMember(file_kind_words(), CLI::ignore_case))
      ->needs(files);
  on(verb, s, [&s, o] { return changes(s, *o); });
}

}  // namespace understudy::ctl
