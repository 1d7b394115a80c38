#include "common/files/owner_names.hpp"

#include <grp.h>
#include <pwd.h>

#include <cerrno>
#include <vector>

namespace understudy::files {
namespace {

constexpr std::chrono::seconds memory{60};       // a user added meanwhile is found after this
constexpr std::size_t largest_record = 1 << 20;  // bytes; a group with very many members

// Calls one of the get*_r functions with a buffer that is large enough.
template <class Record, class Call, class Key>
bool look_up(Call call, Key key, Record& record, std::vector<char>& buffer) {
  for (buffer.resize(1024);; buffer.resize(buffer.size() * 4)) {
    Record* found = nullptr;
    const int error = call(key, &record, buffer.data(), buffer.size(), &found);
    if (error == ERANGE && buffer.size() < largest_record) continue;
    return error == 0 && found != nullptr;
  }
}

}  // namespace

void owner_names::forget_old() {
  const auto now = std::chrono::steady_clock::now();
  if (now - forgotten_at_ < memory) return;
  forgotten_at_ = now;
  users_.clear();
  groups_.clear();
  uids_.clear();
  gids_.clear();
}

const std::string& owner_names::user(uid_t uid) {
  forget_old();
  const auto [at, added] = users_.try_emplace(uid);
  struct ::passwd record {};
  std::vector<char> buffer;
  if (added && look_up(::getpwuid_r, uid, record, buffer)) at->second = record.pw_name;
  return at->second;
}

const std::string& owner_names::group(gid_t gid) {
  forget_old();
  const auto [at, added] = groups_.try_emplace(gid);
  struct ::group record {};
  std::vector<char> buffer;
  if (added && look_up(::getgrgid_r, gid, record, buffer)) at->second = record.gr_name;
  return at->second;
}

std::optional<uid_t> owner_names::uid(const std::string& user) {
  if (user.empty()) return std::nullopt;
  forget_old();
  const auto [at, added] = uids_.try_emplace(user);
  struct ::passwd record {};
  std::vector<char> buffer;
  if (added && look_up(::getpwnam_r, user.c_str(), record, buffer)) at->second = record.pw_uid;
  return at->second;
}

std::optional<gid_t> owner_names::gid(const std::string& group) {
  if (group.empty()) return std::nullopt;
  forget_old();
  const auto [at, added] = gids_.try_emplace(group);
  struct ::group record {};
  std::vector<char> buffer;
  if (added && look_up(::getgrnam_r, group.c_str(), record, buffer)) at->second = record.gr_gid;
  return at->second;
}

}  // namespace understudy::files
