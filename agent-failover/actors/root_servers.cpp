// root: the specifications of servers, and how they change.

#include <fmt/core.h>
#include <caf/send.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "agent-failover/actors/command_events.hpp"
#include "agent-failover/actors/root.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "agent-failover/policy/codec.hpp"
#include "agent-failover/policy/status.hpp"
#include "agent-failover/policy/table.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::actors {
namespace {

std::string new_etag() {
  return fmt::format("{:x}", std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

absl::Status root::add_server(const v1::ServerSpec& given) {
  UNDERSTUDY_RETURN_IF_ERROR(check_directory(given));
  v1::ServerSpec spec = given;
  spec.set_etag(new_etag());
  {
    std::lock_guard lock(mutex_);
    if (!specs_.emplace(spec.name(), spec).second) {
      return absl::AlreadyExistsError(fmt::format("there is already a server \"{}\"", spec.name()));
    }
  }
  supervisor_beginning beginning{.since = std::chrono::system_clock::now()};
  beginning.machine.configured = options_of(spec, settings());
  store::changes changes;
  changes.put_server = spec;
  changes.machines.push_back(
      {.server = spec.name(), .state = policy::encode(beginning.machine), .since = beginning.since});
  if (absl::Status stored = commit(std::move(changes)); !stored.ok()) {
    std::lock_guard lock(mutex_);
    specs_.erase(spec.name());
    return stored;
  }
  log::info(spec.name(), "added, at {}", spec.address());
  std::lock_guard lock(mutex_);
  spawn(spec, std::move(beginning));
  return absl::OkStatus();
}

// A server is not pulled from under a takeover.
absl::Status root::may_change(const std::string& name) const {
  auto state = board_.server(name);
  if (!state) return api::no_such_server(name);
  const std::string& now = state->state();
  for (const char* quiet : {"Monitoring", "Suspect", "Warned", "Blind", "Suspended", "Stopped", "Blocked"}) {
    if (now.starts_with(quiet)) return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      fmt::format("{} is {}: fail back first, or wait until the takeover has ended", name, now));
}

// Ends the supervisor of a server that is doing nothing. One that began to act meanwhile goes on.
absl::Status root::end_quiet(const std::string& name) {
  end(name);
  UNDERSTUDY_ASSIGN_OR_RETURN(const policy::primary_state machine, machine_of(name));
  if (machine.owner == policy::right_owner::primary && machine.doing == policy::step_id::none)
    return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(respawn(name));
  return absl::FailedPreconditionError(
      fmt::format("{} is {} by now: wait until that has ended", name, policy::name_of(machine)));
}

absl::Status root::update_server(const v1::ServerSpec& given) {
  std::lock_guard one(changing_);
  {
    std::lock_guard lock(mutex_);
    const auto present = specs_.find(given.name());
    if (present != specs_.end() && present->second.etag() != given.etag()) return api::changed_meanwhile();
  }
  return replace_spec(given);
}

absl::Status root::replace_spec(const v1::ServerSpec& given) {
  UNDERSTUDY_RETURN_IF_ERROR(may_change(given.name()));
  UNDERSTUDY_RETURN_IF_ERROR(check_directory(given));
  v1::ServerSpec spec = given;
  spec.set_etag(new_etag());
  UNDERSTUDY_RETURN_IF_ERROR(end_quiet(spec.name()));
  store::changes changes;
  changes.put_server = spec;
  absl::Status stored = commit(std::move(changes));
  if (stored.ok()) {
    std::lock_guard lock(mutex_);
    v1::ServerSpec& present = specs_[spec.name()];
    for (const auto& had : present.databases()) {
      const bool stays = std::any_of(spec.databases().begin(), spec.databases().end(),
                                     [&](const auto& has) { return has.path() == had.path(); });
      if (!stays) server::copy_layout(options_.data_dir, present).remove_unfinished(had);
    }
    present = spec;
  }
  UNDERSTUDY_RETURN_IF_ERROR(respawn(spec.name()));
  return stored;
}

void root::adopt(const std::string& name, const found_databases& found) {
  std::lock_guard one(changing_);
  v1::ServerSpec spec;
  {
    std::lock_guard lock(mutex_);
    const auto present = specs_.find(name);
    if (present == specs_.end()) return;
    spec = present->second;
  }
  std::string names;
  const auto note = [&](const std::string& catalog) { names += (names.empty() ? "" : ", ") + catalog; };
  for (int i = spec.databases_size() - 1; i >= 0; --i) {
    const auto& has = spec.databases(i);
    if (!has.found() || std::find(found.drop.begin(), found.drop.end(), has.catalog()) == found.drop.end())
      continue;
    note("without " + has.catalog());
    spec.mutable_databases()->DeleteSubrange(i, 1);
  }
  for (const auto& database : found.add) {
    const auto has = [&](const v1::DatabaseSpec& known) {
      return known.catalog() == database.catalog() || known.path() == database.path();
    };
    if (std::any_of(spec.databases().begin(), spec.databases().end(), has)) continue;
    *spec.add_databases() = database;
    for (auto& files : *spec.mutable_files()) files.add_exclude_databases(database.path());
    note(database.catalog());
  }
  if (names.empty()) return;
  spec.set_etag(new_etag());
  store::changes changes;
  changes.put_server = spec;
  absl::Status adopted = may_change(name);
  if (adopted.ok()) adopted = commit(std::move(changes));
  if (!adopted.ok()) {
    log::warning(name, "what its agent has found cannot be taken in now: {}: {}", names, message_of(adopted));
    return;
  }
  log::info(name, "taken in, for its agent has found it: {}", names);
  // Its supervisor goes on, and with it every stream of what it has already.
  std::lock_guard lock(mutex_);
  specs_[name] = spec;
  if (const auto supervisor = supervisors_.find(name); supervisor != supervisors_.end())
    caf::anon_send(supervisor->second, atom::adopted_v, spec);
}

// Two copies never share a directory, nor lie in each other's.
absl::Status root::check_directory(const v1::ServerSpec& spec) const {
  const std::string own = server::copy_layout(options_.data_dir, spec).directory() + "/";
  std::lock_guard lock(mutex_);
  for (const auto& [name, other] : specs_) {
    if (name == spec.name()) continue;
    const std::string theirs = server::copy_layout(options_.data_dir, other).directory() + "/";
    if (own.starts_with(theirs) || theirs.starts_with(own)) {
      return absl::InvalidArgumentError(fmt::format(
          "server.local_dir: {} holds the copy of {}: choose a directory of its own", theirs, name));
    }
  }
  return absl::OkStatus();
}

}  // namespace understudy::actors
