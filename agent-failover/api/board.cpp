#include "agent-failover/api/board.hpp"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <utility>

namespace understudy::api {
namespace {

constexpr std::size_t backlog_limit = 4096;  // updates a follower may lag behind: about a megabyte
constexpr std::size_t kept_events = 2000;    // for followers that resume; the history itself is in state.db
constexpr std::size_t kept_lines = 5000;     // of the live log
constexpr std::size_t kept_operations = 200;

// A state is published when something changes; how far a copy is behind changes with time alone.
v1::ServerState of_this_moment(v1::ServerState state) {
  using google::protobuf::util::TimeUtil;
  const auto now = TimeUtil::GetCurrentTime();
  for (auto* copies : {state.mutable_databases(), state.mutable_files()}) {
    for (auto& copy : *copies) {
      if (copy.has_behind_since() && copy.behind_since() < now)
        *copy.mutable_behind() = now - copy.behind_since();
    }
  }
  return state;
}

}  // namespace

bool board::subscription::wants(const std::string& server) const {
  return filter_.servers.empty() || server.empty() || filter_.servers.contains(server);
}

std::optional<v1::WatchResponse> board::subscription::next(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  woken_.wait_until(lock, deadline, [&] { return closed_ || !queue_.empty() || !changed_servers_.empty(); });
  if (closed_) return std::nullopt;
  if (!queue_.empty()) {
    v1::WatchResponse update = std::move(queue_.front());
    queue_.pop_front();
    return update;
  }
  if (!changed_servers_.empty()) {
    const std::string name = *changed_servers_.begin();
    changed_servers_.erase(changed_servers_.begin());
    v1::WatchResponse update;
    *update.mutable_server() = states_[name];
    return update;
  }
  return std::nullopt;
}

void board::subscription::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  woken_.notify_all();
}

bool board::subscription::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

template <class Update>
void board::deliver(const std::string& server, const Update& update) {
  std::erase_if(subscriptions_, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : subscriptions_) {
    if (auto follower = weak.lock(); follower && follower->wants(server)) {
      std::lock_guard lock(follower->mutex_);
      update(*follower);
      if (follower->queue_.size() > backlog_limit) follower->queue_.pop_front();
      follower->woken_.notify_all();
    }
  }
}

void board::publish(v1::ServerState state) {
  std::lock_guard lock(mutex_);
  const std::string name = state.name();
  servers_[name] = state;
  deliver(name, [&](subscription& follower) {
    follower.states_[name] = state;
    follower.changed_servers_.insert(name);
  });
}

void board::remove(const std::string& server) {
  std::lock_guard lock(mutex_);
  servers_.erase(server);
  deliver(server, [&](subscription& follower) {
    follower.changed_servers_.erase(server);
    follower.states_.erase(server);
    follower.queue_.emplace_back().set_removed_server(server);
  });
}

void board::update_host(const std::function<void(v1::HostState&)>& change) {
  std::lock_guard lock(mutex_);
  change(host_);
  deliver("", [&](subscription& follower) { *follower.queue_.emplace_back().mutable_host() = host_; });
}

void board::publish(v1::Operation operation) {
  std::lock_guard lock(mutex_);
  auto known = std::find_if(operations_.begin(), operations_.end(),
                            [&](const auto& other) { return other.name() == operation.name(); });
  if (known != operations_.end()) {
    *known = operation;
  } else {
    operations_.push_back(operation);
    if (operations_.size() > kept_operations) operations_.pop_front();
  }
  if (operation.done()) operation_ended_.notify_all();
  deliver(operation.server(),
          [&](subscription& follower) { *follower.queue_.emplace_back().mutable_operation() = operation; });
}

void board::publish(v1::Event event) {
  std::lock_guard lock(mutex_);
  events_.push_back(event);
  if (events_.size() > kept_events) events_.pop_front();
  deliver(event.server(),
          [&](subscription& follower) { *follower.queue_.emplace_back().mutable_event() = event; });
}

void board::publish(v1::LogLine line) {
  std::lock_guard lock(mutex_);
  line.set_id(next_log_++);
  log_.push_back(line);
  if (log_.size() > kept_lines) log_.pop_front();
  deliver(line.server(), [&](subscription& follower) {
    if (follower.filter_.log) *follower.queue_.emplace_back().mutable_log() = line;
  });
}

std::vector<v1::ServerState> board::servers() const {
  std::lock_guard lock(mutex_);
  std::vector<v1::ServerState> result;
  for (const auto& [name, state] : servers_) result.push_back(of_this_moment(state));
  return result;
}

std::optional<v1::ServerState> board::server(const std::string& name) const {
  std::lock_guard lock(mutex_);
  auto found = servers_.find(name);
  if (found == servers_.end()) return std::nullopt;
  return of_this_moment(found->second);
}

v1::HostState board::host() const {
  std::lock_guard lock(mutex_);
  return host_;
}

std::vector<v1::Operation> board::operations() const {
  std::lock_guard lock(mutex_);
  return {operations_.begin(), operations_.end()};
}

std::optional<v1::Operation> board::operation(const std::string& name) const {
  std::lock_guard lock(mutex_);
  for (const auto& operation : operations_) {
    if (operation.name() == name) return operation;
  }
  return std::nullopt;
}

std::optional<v1::Operation> board::wait_operation(const std::string& name,
                                                   std::chrono::steady_clock::time_point deadline) const {
  std::unique_lock lock(mutex_);
  const v1::Operation* found = nullptr;
  const auto ended = [&] {
    found = nullptr;
    for (const auto& operation : operations_) {
      if (operation.name() == name) found = &operation;
    }
    return closed_ || found == nullptr || found->done();
  };
  operation_ended_.wait_until(lock, deadline, ended);
  if (found == nullptr) return std::nullopt;
  return *found;
}

std::vector<v1::LogLine> board::log(const std::string& server, v1::EventSeverity at_least,
                                    std::size_t limit) const {
  std::lock_guard lock(mutex_);
  std::vector<v1::LogLine> result;
  for (auto line = log_.rbegin(); line != log_.rend() && result.size() < limit; ++line) {
    if (!server.empty() && line->server() != server) continue;
    if (line->severity() < at_least) continue;
    result.push_back(*line);
  }
  std::reverse(result.begin(), result.end());
  return result;
}

std::shared_ptr<board::subscription> board::subscribe(subscription::filter filter) {
  std::lock_guard lock(mutex_);
  auto follower = std::make_shared<subscription>();
  follower->filter_ = std::move(filter);
  *follower->queue_.emplace_back().mutable_host() = host_;
  for (const auto& [name, state] : servers_) {
    if (!follower->wants(name)) continue;
    follower->states_[name] = of_this_moment(state);
    follower->changed_servers_.insert(name);
  }
  if (follower->filter_.after_event != 0) {
    for (const auto& event : events_) {
      if (event.id() > follower->filter_.after_event && follower->wants(event.server())) {
        *follower->queue_.emplace_back().mutable_event() = event;
      }
    }
  }
  if (follower->filter_.log && follower->filter_.after_log != 0) {
    for (const auto& line : log_) {
      if (line.id() > follower->filter_.after_log && follower->wants(line.server())) {
        *follower->queue_.emplace_back().mutable_log() = line;
      }
    }
  }
  follower->closed_ = closed_;
  subscriptions_.push_back(follower);
  return follower;
}

void board::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  for (const auto& weak : subscriptions_) {
    if (auto follower = weak.lock()) follower->close();
  }
  operation_ended_.notify_all();
}

}  // namespace understudy::api
