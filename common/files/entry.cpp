#include "common/files/entry.hpp"

namespace understudy::files {

std::optional<entry_kind> kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return entry_kind::regular;
    case S_IFDIR:
      return entry_kind::directory;
    case S_IFLNK:
      return entry_kind::symlink;
    default:
      return std::nullopt;
  }
}

epoch_ns to_nanoseconds(const struct ::timespec& time) {
  return static_cast<epoch_ns>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

struct ::timespec to_timespec(epoch_ns time) {
  epoch_ns seconds = time / 1'000'000'000;
  epoch_ns rest = time % 1'000'000'000;
  if (rest < 0) {
    --seconds;
    rest += 1'000'000'000;
  }
  return {.tv_sec = static_cast<time_t>(seconds), .tv_nsec = static_cast<long>(rest)};
}

entry entry_of(const struct ::stat& status, entry_kind kind) {
  entry e;
  e.kind = kind;
  e.mode = status.st_mode & 07777;
  e.uid = status.st_uid;
  e.gid = status.st_gid;
  e.size = kind == entry_kind::regular ? static_cast<std::uint64_t>(status.st_size) : 0;
  e.modified_at = to_nanoseconds(status.st_mtim);
  return e;
}

difference compare(const entry& a, const entry& b, const comparison& what) {
  difference d;
  d.kind = a.kind != b.kind;
  if (d.kind) return d;
  const bool times = a.modified_at != b.modified_at;
  switch (a.kind) {
    case entry_kind::regular:
      d.content = a.size != b.size || times || (a.content && b.content && *a.content != *b.content);
      break;
    case entry_kind::symlink:
      d.content = a.target != b.target;
      d.attributes = times;
      break;
    case entry_kind::directory:
      d.attributes = times;
      break;
  }
  // The permissions of a symlink mean nothing and cannot be set.
  if (a.kind != entry_kind::symlink && a.mode != b.mode) d.attributes = true;
  const auto differs = [](const std::string& name, const std::string& other_name, auto id, auto other_id) {
    return id != other_id && (name.empty() || name != other_name);
  };
  if (what.owners && (differs(a.owner, b.owner, a.uid, b.uid) || differs(a.group, b.group, a.gid, b.gid))) {
    d.attributes = true;
  }
  if (what.extended_attributes && a.attributes != b.attributes) d.attributes = true;
  return d;
}

}  // namespace understudy::files
