// What operators are shown of one server.

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent-failover/actors/supervisor.hpp"
#include "agent-failover/api/board.hpp"

namespace understudy::actors {

void supervisor::publish() {
  if (shutting_down_) return;
  view_inputs inputs{.spec = spec_, .machine = machine_, .since = since_};
  inputs.round_trip = round_trip_;
  inputs.agent_connected = connected_;
  inputs.agent_trouble = agent_trouble_;
  inputs.agent = agent_ ? &*agent_ : nullptr;
  inputs.databases = runner_->copies().databases();
  inputs.files = runner_->copies().files();
  const std::vector<std::string> first_copies = runner_->copies().first_copies();
  if (machine_.owner == policy::right_owner::failover_host) {
    const std::set<std::string> without = runner_->copies().without_copy();
    for (auto* copies : {&inputs.databases, &inputs.files}) {
      for (auto& copy : *copies) {
        copy.set_phase(v1::COPY_PHASE_STOPPED);
        copy.set_reason(without.contains(copy.name()) ? "there is no copy of it" : "it is the newest data");
        copy.clear_behind();
        copy.clear_behind_since();
        copy.clear_behind_transactions();
        copy.clear_behind_bytes();
      }
    }
  }
  inputs.stand_in = runner_->applications().status();
  const bool here = machine_.owner == policy::right_owner::failover_host;
  const auto missing = here ? std::map<std::string, std::string>{} : runner_->copies().missing_there();
  for (const std::string& catalog : first_copies) {
    if (missing.contains(catalog)) continue;
    inputs.warnings.push_back(
        catalog + (here ? " had no copy yet: the stand-in goes without it"
                        : " is copied for the first time: until then a takeover goes without it"));
  }
  for (const auto& [catalog, why] : missing) {
    const bool first = std::find(first_copies.begin(), first_copies.end(), catalog) != first_copies.end();
    inputs.warnings.push_back(catalog + ": " + why + (first ? "; a takeover goes without it" : ""));
  }
  if (!versions_.text.empty()) inputs.warnings.push_back(versions_.text);
  if (!application_versions_.empty()) inputs.warnings.push_back(application_versions_);
  inputs.operation = operations_->name();
  v1::ServerState state = view(inputs);
  // Followers are woken when something changed, not when time passed.
  v1::ServerState still = state;
  still.clear_round_trip();
  for (auto* copies : {still.mutable_databases(), still.mutable_files()}) {
    for (auto& copy : *copies) {
      copy.clear_behind();
      copy.clear_behind_since();
    }
  }
  std::string serialized = still.SerializeAsString();
  if (serialized == published_) return;
  published_ = std::move(serialized);
  around_->board.publish(std::move(state));
}

}  // namespace understudy::actors
