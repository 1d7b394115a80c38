#include "agent-primary/service/database_keeper.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/service/database_paths.hpp"
#include "common/log/log.hpp"

namespace understudy::service {
namespace {

constexpr std::chrono::milliseconds look_interval{500};  // a new database is protected within a second

bool has_path(const std::vector<database_config>& databases, const std::string& path) {
  return std::any_of(databases.begin(), databases.end(), [&](const auto& d) { return d.path == path; });
}

}  // namespace

database_keeper::database_keeper(agent_parts& parts, std::function<void()> changed)
    : parts_(parts), changed_(std::move(changed)) {}

database_keeper::~database_keeper() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void database_keeper::configure(std::vector<database_config> configured) {
  std::lock_guard lock(looking_);
  configured_ = std::move(configured);
  // What was found by a pattern that is gone goes, too.
  for (const database_config& old : parts_.databases()) {
    if (!has_path(find_databases(configured_, {old.path}).databases, old.path))
      parts_.capture->remove(old.path);
  }
  look(false);
}

void database_keeper::start() {
  thread_ = std::thread([this] { run(); });
}

void database_keeper::run() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, look_interval, [this] { return stop_; })) {
    lock.unlock();
    {
      std::lock_guard one(looking_);
      if (std::any_of(configured_.begin(), configured_.end(),
                      [](const auto& database) { return has_wildcard(database.path); })) {
        look(true);
      }
    }
    look_for_damage();
    lock.lock();
  }
}

void database_keeper::look(bool keep) {
  const std::vector<database_config> before = parts_.databases();
  std::set<std::string> known;
  for (const database_config& database : before) known.insert(database.path);
  found_databases found = find_databases(configured_, known);
  if (found.problems.size() > problems_told_) {
    for (const std::string& problem : found.problems) log::error("", "{}", problem);
  }
  problems_told_ = found.problems.size();
  for (const database_config& old : before) {
    if (keep && !has_path(found.databases, old.path)) found.databases.push_back(old);
  }
  if (found.databases == before) return;
  for (const database_config& database : found.databases) {
    parts_.capture->add(database.path);
    parts_.capture->hold(database.path, database.hold);
    if (!before.empty() && !known.contains(database.path))
      log::info(database.catalog, "found {}", database.path);
  }
  parts_.set_databases(std::move(found.databases));
  changed_();
}

void database_keeper::look_for_damage() {
  std::uint64_t pages = 0;
  for (const database_config& database : parts_.databases())
    pages += parts_.capture->metrics(database.path).damaged_pages;
  if (std::exchange(damaged_pages_, pages) != pages) changed_();
}

}  // namespace understudy::service
