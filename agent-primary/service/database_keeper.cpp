#include "agent-primary/service/database_keeper.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/service/database_paths.hpp"
#include "common/log/log.hpp"

namespace understudy::service {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds look_interval{300};  // a new database is protected within a second
constexpr int rest_per_look =
    20;  // times as long as the last look took: 5 % of a core where many files match
constexpr std::chrono::seconds gone_after{60};  // one that is put in place anew is away for a moment

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
  look(false);  // what was found by a pattern that is gone goes, too
}

void database_keeper::start() {
  thread_ = std::thread([this] { run(); });
}

void database_keeper::run() {
  std::unique_lock lock(mutex_);
  steady_clock::duration rest = look_interval;
  while (!stopped_.wait_for(lock, rest, [this] { return stop_; })) {
    lock.unlock();
    const auto begun = steady_clock::now();
    {
      std::lock_guard one(looking_);
      if (std::any_of(configured_.begin(), configured_.end(),
                      [](const auto& database) { return has_wildcard(database.path); })) {
        look(true);
      }
    }
    look_for_damage();
    rest = std::max<steady_clock::duration>(look_interval, (steady_clock::now() - begun) * rest_per_look);
    lock.lock();
  }
}

void database_keeper::look(bool keep) {
  const std::vector<database_config> before = parts_.databases();
  std::set<std::string> known;
  for (const database_config& database : before) known.insert(database.path);
  found_databases found = find_databases(configured_, known);
  const auto now = steady_clock::now();
  std::map<std::string, steady_clock::time_point> missing;
  for (const database_config& old : before) {
    if (has_path(found.databases, old.path)) continue;
    const auto since = missing_.try_emplace(old.path, now).first->second;
    const bool room = found.databases.size() < configured_.size() + most_found;
    if (keep && room && now - since < gone_after) {
      missing.emplace(old.path, since);
      found.databases.push_back(old);
    } else {
      if (keep) log::info(old.catalog, "{} is gone", old.path);
      parts_.capture->remove(old.path);
    }
  }
  missing_ = std::move(missing);
  if (found.problems != parts_.database_problems()) {
    for (const std::string& problem : found.problems) log::error("", "{}", problem);
  }
  if (found.databases == before && found.problems == parts_.database_problems()) return;
  for (const database_config& database : found.databases) {
    if (known.contains(database.path)) continue;
    parts_.capture->add(database.path);
    if (keep) log::info(database.catalog, "found {}", database.path);
  }
  for (const database_config& database : found.databases) parts_.capture->hold(database.path, database.hold);
  parts_.set_databases(std::move(found.databases), std::move(found.problems));
  changed_();
}

void database_keeper::look_for_damage() {
  std::uint64_t pages = 0;
  for (const database_config& database : parts_.databases())
    pages += parts_.capture->metrics(database.path).damaged_pages;
  if (std::exchange(damaged_pages_, pages) != pages) changed_();
}

}  // namespace understudy::service
