#pragma once

// Names of users and groups, looked up once and remembered for a minute: a lookup may go to a network
// service. Used by one thread.

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <unordered_map>

namespace understudy::files {

class owner_names {
 public:
  // "" when the number has no name.
  const std::string& user(uid_t uid);
  const std::string& group(gid_t gid);
  std::optional<uid_t> uid(const std::string& user);
  std::optional<gid_t> gid(const std::string& group);

 private:
  void forget_old();

  std::chrono::steady_clock::time_point forgotten_at_ = std::chrono::steady_clock::now();
  std::unordered_map<uid_t, std::string> users_;
  std::unordered_map<gid_t, std::string> groups_;
  std::unordered_map<std::string, std::optional<uid_t>> uids_;
  std::unordered_map<std::string, std::optional<gid_t>> gids_;
};

}  // namespace understudy::files
