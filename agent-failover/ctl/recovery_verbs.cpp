// restore NAME --database C --at TIME --to FILE, restore NAME --list, files NAME --deleted,
// files NAME --restore PATH --to FILE

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <memory>
#include <tuple>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "google/protobuf/util/time_util.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

struct restore_options {
  std::string server;
  std::string catalog;
  std::string at;
  std::string to;
  bool list = false;
  bool dry_run = false;
  bool wait = true;
};

absl::StatusOr<google::protobuf::Timestamp> timestamp_of(const std::string& text) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto at, parse_time(text, std::chrono::system_clock::now()));
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
  return google::protobuf::util::TimeUtil::MillisecondsToTimestamp(ms);
}

verb_result list_history(session& s, const std::string& server) {
  v1::ListHistoryRequest request;
  request.set_server(server);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto listed, s.ask<v1::ListHistoryResponse>(request));
  text_table table{{"DATABASE", "FROM", "LAST CHANGE", "STATES", "SIZE", "NOTE"}};
  for (const auto& one : listed.databases()) {
    std::string note = one.reason();
    if (one.behind() != 0) note += fmt::format("{}{} behind", note.empty() ? "" : "; ", one.behind());
    table.add_row(
        {{one.catalog()},
         {one.available() ? time_text(one.begins_at()) : "-", one.available() ? tint::plain : tint::doubt},
         {one.available() ? time_text(one.last_change_at()) : "-"},
         {one.available() ? fmt::format("{}", one.states()) : "-"},
         {bytes_text(one.bytes())},
         {note, one.interrupted() ? tint::doubt : tint::plain}});
  }
  const auto how = view_of(s);
  return show(s, listed, table.text(how.width, how.colored));
}

verb_result restore(session& s, const restore_options& o) {
  if (o.list) return list_history(s, o.server);
  for (const auto& [given, option, what] :
       {std::tuple{&o.catalog, "--database", "the database"}, std::tuple{&o.at, "--at", "the moment"},
        std::tuple{&o.to, "--to", "the file to write"}}) {
    if (!given->empty()) continue;
    return with_hint(absl::InvalidArgumentError(fmt::format("{} is missing: say {}", option, what)),
                     fmt::format("see what can be restored: understudyctl restore {} --list", o.server));
  }
  v1::RestoreDatabaseImageRequest request;
  request.set_server(o.server);
  request.set_catalog(o.catalog);
  request.set_to(o.to);
  if (!o.to.starts_with('/')) {
    return absl::InvalidArgumentError("--to is a file on the failover host: give its absolute path");
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(*request.mutable_at(), timestamp_of(o.at));
  request.set_dry_run(o.dry_run);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::RestoreDatabaseImageResponse>(request));
  if (o.dry_run) return show(s, answer, answer.effect() + "\n");
  if (!answer.effect().empty()) s.screen().err(answer.effect() + "\n");
  return follow(s, answer.operation(), o.wait);
}

struct files_options {
  std::string server;
  bool deleted = false;
  std::string under;
  std::uint32_t limit = 1000;
  std::string restore;
  std::string base;
  std::string at;
  std::string version;
  std::string to;
  bool dry_run = false;
};

verb_result list_deleted(session& s, const files_options& o) {
  v1::ListDeletedFilesRequest request;
  request.set_server(o.server);
  request.set_under(o.under);
  request.set_base(o.base);
  request.set_limit(o.limit);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto listed, s.ask<v1::ListDeletedFilesResponse>(request));
  text_table table{{"DELETED", "VERSION", "BASE", "PATH", "SIZE"}};
  for (const auto& file : listed.files()) {
    table.add_row({{time_text(file.deleted_at())},
                   {file.version()},
                   {file.base()},
                   {file.path()},
                   {file.symlink() ? "symlink" : bytes_text(file.size())}});
  }
  const auto how = view_of(s);
  const auto code = show(s, listed, table.text(how.width, how.colored));
  if (listed.more()) s.screen().err("there are more: see --under and --limit\n");
  return code;
}

verb_result restore_deleted(session& s, const files_options& o) {
  if (!o.to.starts_with('/')) {
    return absl::InvalidArgumentError(o.to.empty()
                                          ? "--to is missing: say the file to write, on the failover host"
                                          : "--to is a file on the failover host: give its absolute path");
  }
  v1::RestoreDeletedFileRequest request;
  request.set_server(o.server);
  request.set_path(o.restore);
  request.set_base(o.base);
  request.set_version(o.version);
  request.set_to(o.to);
  request.set_dry_run(o.dry_run);
  if (!o.at.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(*request.mutable_at(), timestamp_of(o.at));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer,
                              s.ask<v1::RestoreDeletedFileResponse>(request, session::LONG_PATIENCE));
  return show(s, answer, answer.effect() + "\n");
}

verb_result files(session& s, const files_options& o) {
  if (!o.restore.empty()) return restore_deleted(s, o);
  if (o.deleted) return list_deleted(s, o);
  return absl::InvalidArgumentError("say --deleted, to list what was deleted, or --restore PATH --to FILE");
}

}  // namespace

void add_recovery_verbs(CLI::App& root, session& s) {
  auto o = std::make_shared<restore_options>();
  auto* verb =
      root.add_subcommand("restore", "write a past moment of a database to a file on the failover host");
  add_server_name(verb, &o->server);
  verb->add_flag("--list", o->list, "show how far back each database can be restored");
  verb->add_option("--database", o->catalog, "the database");
  verb->add_option("--at", o->at, "when: 2026-11-22T15:40:00Z, \"2026-11-22 15:40\" (local), or \"10m ago\"");
  verb->add_option("--to", o->to, "the file to write, an absolute path on the failover host");
  verb->add_flag("--dry-run", o->dry_run, "check and say what would be written");
  verb->add_flag("--wait,!--no-wait", o->wait, "wait for the end (default), or only begin");
  on(verb, s, [&s, o] { return restore(s, *o); });

  auto f = std::make_shared<files_options>();
  auto* files_verb = root.add_subcommand("files", "deleted files that are still kept");
  add_server_name(files_verb, &f->server);
  files_verb->add_flag("--deleted", f->deleted, "list them");
  files_verb->add_option("--under", f->under, "only this path and what is below it");
  files_verb->add_option("-n,--limit", f->limit, "at most so many")->capture_default_str();
  auto* path =
      files_verb->add_option("--restore", f->restore, "write this one to a file on the failover host");
  files_verb->add_option("--to", f->to, "the file to write, an absolute path on the failover host")
      ->needs(path);
  files_verb
      ->add_option("--at", f->at, "as it was then: the version deleted first after that; else the last one")
      ->needs(path);
  files_verb->add_option("--which", f->version, "this version, as listed")->needs(path);
  files_verb->add_flag("--dry-run", f->dry_run, "check and say what would be written")->needs(path);
  files_verb->add_option("--base", f->base, "of this base directory only");
  on(files_verb, s, [&s, f] { return files(s, *f); });
}

}  // namespace understudy::ctl
