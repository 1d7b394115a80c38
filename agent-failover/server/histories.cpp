#include "agent-failover/server/histories.hpp"

#include <google/protobuf/util/time_util.h>

#include <utility>
#include <vector>

#include "agent-failover/server/copy_layout.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {

std::optional<history::bounds> history_bounds(const v1::ServerSpec& spec, const v1::Settings& settings) {
  if (settings.history().off() || spec.history().off()) return std::nullopt;
  history::bounds within;
  for (const v1::HistorySettings* given : {&settings.history(), &spec.history()}) {
    if (given->hours() != 0) within.age = std::chrono::hours(given->hours());
    if (given->bytes() != 0) within.bytes = given->bytes();
  }
  return within;
}

std::shared_ptr<history::keeper> histories::keep(const v1::ServerSpec& spec, const v1::Settings& settings) {
  const auto within = history_bounds(spec, settings);
  if (!within) return nullptr;
  const std::string directory = copy_layout(data_dir_, spec).history();
  std::vector<std::string> catalogs;
  for (const auto& database : spec.databases()) catalogs.push_back(database.catalog());
  std::shared_ptr<history::keeper> former;
  std::shared_ptr<history::keeper> kept;
  {
    const std::lock_guard lock(mutex_);
    auto& slot = keepers_[spec.name()];
    if (slot == nullptr || slot->directory() != directory) {
      former = std::exchange(slot, std::make_shared<history::keeper>(fs_, spec.name(), directory, *within));
    }
    kept = slot;
  }
  kept->set_bounds(*within);
  if (const absl::Status s = kept->retain(catalogs); !s.ok()) {
    log::warning(spec.name(), "the history of a former database is not removed: {}", message_of(s));
  }
  return kept;
}

std::shared_ptr<history::keeper> histories::find(const std::string& server) const {
  const std::lock_guard lock(mutex_);
  const auto found = keepers_.find(server);
  return found == keepers_.end() ? nullptr : found->second;
}

std::vector<v1::DatabaseHistory> histories::list(const v1::ServerSpec& spec) const {
  const auto time = [](history::clock_time t) {
    return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
        std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count());
  };
  const auto keeper = find(spec.name());
  std::vector<v1::DatabaseHistory> all;
  for (const auto& database : spec.databases()) {
    v1::DatabaseHistory& one = all.emplace_back();
    one.set_catalog(database.catalog());
    const auto kept = keeper != nullptr ? keeper->find(database.catalog()) : nullptr;
    if (kept == nullptr) {
      one.set_reason("no history is kept: it is off in the settings or of this server");
      continue;
    }
    const history::window w = kept->range();
    one.set_available(w.exists);
    one.set_reason(w.began_because);
    one.set_interrupted(w.interrupted);
    one.set_bytes(w.bytes);
    one.set_behind(w.behind);
    if (!w.exists) continue;
    *one.mutable_begins_at() = time(w.begins_at);
    *one.mutable_last_change_at() = time(w.last_change_at);
    one.set_states(w.last - w.first + 1);
  }
  return all;
}

void histories::drop(const v1::ServerSpec& spec) {
  forget(spec.name());
  if (const absl::Status s = history::keeper::remove(fs_, copy_layout(data_dir_, spec).history()); !s.ok()) {
    log::warning(spec.name(), "its history is not removed: {}", message_of(s));
  }
}

void histories::forget(const std::string& server) {
  std::shared_ptr<history::keeper> former;
  const std::lock_guard lock(mutex_);
  if (const auto found = keepers_.find(server); found != keepers_.end()) {
    former = std::move(found->second);
    keepers_.erase(found);
  }
}

}  // namespace understudy::server
