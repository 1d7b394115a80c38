#pragma once

// The feed of file changes of each server, for as long as the server is known, whatever becomes of the actor
// that looks after it. Threads: any.

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "common/files/file_feed.hpp"

namespace understudy::server {

class file_feeds {
 public:
  // Made when there is none.
  std::shared_ptr<files::file_feed> of(const std::string& server) {
    const std::lock_guard lock(mutex_);
    auto& feed = feeds_[server];
    if (feed == nullptr) feed = std::make_shared<files::file_feed>();
    return feed;
  }
  void forget(const std::string& server) {
    const std::lock_guard lock(mutex_);
    feeds_.erase(server);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<files::file_feed>> feeds_;
};

}  // namespace understudy::server
