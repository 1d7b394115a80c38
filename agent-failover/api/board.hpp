#pragma once

// What is known now, for everybody who looks: the state of each server, the operations, the newest events and
// log lines. Actors publish; the API reads and follows. Reading never waits for an actor, so `status` answers
// while everything else is busy.
//
// Threads: any. A subscription is read by one thread.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "understudy/v1/supervisor.pb.h"

namespace understudy::api {

class board {
 public:
  // One follower's queue of updates. A server's state is delivered once however often it changed meanwhile; a
  // follower that lags by more than `backlog_limit` other updates loses the oldest; the ids of events and log
  // lines show it the gap, and state.db has the events.
  class subscription {
   public:
    struct filter {
      std::set<std::string> servers{};  // empty: all
      bool log = false;
      std::uint64_t after_event = 0;  // 0: from now on
      std::uint64_t after_log = 0;
    };
    // Waits until `deadline`; nothing when nothing came.
    std::optional<v1::WatchResponse> next(std::chrono::steady_clock::time_point deadline);
    // Wakes next(), which then returns nothing for good.
    void close();
    bool closed() const;

   private:
    friend class board;
    bool wants(const std::string& server) const;
    mutable std::mutex mutex_;
    std::condition_variable woken_;
    filter filter_;
    std::deque<v1::WatchResponse> queue_;
    std::set<std::string> changed_servers_;
    std::map<std::string, v1::ServerState> states_;
    bool closed_ = false;
  };

  void publish(v1::ServerState state);
  void remove(const std::string& server);
  // The host's state has several writers, each of its own fields: read, changed and published in one go.
  void update_host(const std::function<void(v1::HostState&)>& change);
  void publish(v1::Operation operation);
  void publish(v1::Event event);  // with its id
  // Assigns the line's id.
  void publish(v1::LogLine line);

  std::vector<v1::ServerState> servers() const;
  std::optional<v1::ServerState> server(const std::string& name) const;
  v1::HostState host() const;
  std::vector<v1::Operation> operations() const;
  std::optional<v1::Operation> operation(const std::string& name) const;
  // Waits until the operation is done, the deadline passes or the board is closed.
  std::optional<v1::Operation> wait_operation(const std::string& name,
                                              std::chrono::steady_clock::time_point deadline) const;
  std::vector<v1::LogLine> log(const std::string& server, v1::EventSeverity at_least,
                               std::size_t limit) const;

  std::shared_ptr<subscription> subscribe(subscription::filter filter);
  // Ends all subscriptions, later ones too, and every wait: the daemon is going down.
  void close();

 private:
  template <class Update>
  void deliver(const std::string& server, const Update& update);

  mutable std::mutex mutex_;
  mutable std::condition_variable operation_ended_;
  std::map<std::string, v1::ServerState> servers_;
  v1::HostState host_;
  std::deque<v1::Operation> operations_;
  std::deque<v1::Event> events_;
  std::deque<v1::LogLine> log_;
  std::uint64_t next_log_ = 1;
  bool closed_ = false;
  std::vector<std::weak_ptr<subscription>> subscriptions_;
};

}  // namespace understudy::api
