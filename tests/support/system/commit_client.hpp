#pragma once

// A client that commits without pause and keeps trying at the same address while nobody answers.

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/lab/lab.hpp"

namespace understudy::test {

using wall_clock = std::chrono::system_clock;

// Every attempt has an id of its own, so that one without an answer may be there or not.
struct commit_attempt {
  std::string id;
  wall_clock::time_point begun;
  std::optional<wall_clock::time_point> confirmed;
};

// A stretch in which nothing was confirmed.
struct outage {
  wall_clock::time_point last_before;
  wall_clock::time_point first_after;
  std::chrono::milliseconds length() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(first_after - last_before);
  }
};

class commit_client {
 public:
  // Called inside the host's network, on a thread of the client's; true: the server confirmed `id`.
  using submit = std::function<bool(const std::string& id)>;

  // Ids are `prefix` and a number of six digits. `pause` lies between the beginnings of two attempts.
  commit_client(host& where, std::string prefix, submit send,
                std::chrono::milliseconds pause = std::chrono::milliseconds{25});
  ~commit_client();
  commit_client(const commit_client&) = delete;
  commit_client& operator=(const commit_client&) = delete;
  void stop();

  std::vector<commit_attempt> attempts() const;
  std::vector<std::string> confirmed(wall_clock::time_point until = wall_clock::time_point::max()) const;
  std::size_t confirmed_count() const;
  // `count` more are confirmed that were begun after `since`.
  bool wait_confirmed(std::size_t count, wall_clock::time_point since,
                      std::chrono::milliseconds within) const;
  // The longest stretch without a confirmation between two moments.
  outage longest_outage(wall_clock::time_point from, wall_clock::time_point to) const;

 private:
  void run();

  host& where_;
  const std::string prefix_;
  const submit send_;
  const std::chrono::milliseconds pause_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  std::vector<commit_attempt> attempts_;
  std::thread thread_;
};

}  // namespace understudy::test
