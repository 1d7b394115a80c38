#include "agent-primary/capture/rollback_follower.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "agent-primary/capture/file_locks.hpp"
#include "agent-primary/capture/scanner.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::capture {
namespace {

// No connection has RESERVED, PENDING or EXCLUSIVE: readers' shared locks do not conflict with a shared one.
bool is_quiet(int database, const std::string& journal_path) {
  return conflicting_lock(database, F_RDLCK, sqlite::db_pending_byte, 2 + sqlite::db_shared_size) ==
             F_UNLCK &&
         !has_hot_journal(journal_path);
}

bool same_times(const struct ::stat& a, const struct ::stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

bool has_hot_journal(const std::string& path) {
  const os::unique_fd journal(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  char first = 0;
  return journal && ::pread(journal.value(), &first, 1, 0) == 1 && first != 0;
}

void rollback_follower::check(int database) {
  struct ::stat now;
  if (::fstat(database, &now) == 0 && !same_times(now, status_)) disturb();
}

// False when the file is no longer what the image is of.
bool rollback_follower::start(captured_image& image, int database) {
  disturbed_ = false;
  next_ = 1;
  changed_.clear();
  std::array<std::byte, 100> bytes;
  if (::fstat(database, &status_) != 0) return false;
  if (::pread(database, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return false;
  const auto header = sqlite::parse_database_header(bytes);
  if (!header || header->wal_mode || header->page_size != image.page_size()) return false;
  pages_ = database_pages(*header, static_cast<std::uint64_t>(status_.st_size));
  comparing_ = true;
  return true;
}

void rollback_follower::compare(captured_image& image, int database, std::chrono::microseconds slice,
                                std::vector<std::byte>& buffer) {
  const std::uint32_t skipped = sqlite::lock_page(image.page_size());
  const std::uint32_t known = first_ ? 0 : image.pages();
  const bool keep = image.has_subscribers();
  scan_pages(database, image.page_size(), next_, pages_, slice, buffer,
             [&](std::uint32_t page, const sqlite::page_hash& hash, std::span<const std::byte> bytes) {
               if (page == skipped || (page <= known && image.hash_of(page) == hash)) return;
               changed_.frames.push_back({.page = page, .number = 0, .hash = hash});
               changed_.page_bytes += bytes.size();
               if (!keep || changed_.page_bytes > image.queue_limit_bytes()) {
                 changed_.pages_complete = false;
                 changed_.pages.clear();
               } else if (changed_.pages_complete) {
                 changed_.pages.push_back(
                     {.number = page,
                      .bytes = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
               }
             });
  image.set_scanned(next_ - 1);
}

rollback_follower::result rollback_follower::turn(captured_image& image, int database,
                                                  const std::string& journal_path,
                                                  std::chrono::microseconds slice,
                                                  std::vector<std::byte>& buffer) {
  if (!dirty_) return result::idle;
  if (disturbed_) comparing_ = compared_ = false;
  if (compared_) {
    comparing_ = compared_ = dirty_ = false;
    const bool news = first_ || !changed_.frames.empty() || pages_ != image.pages();
    first_ = false;
    changed_.commit_pages = pages_;
    if (news) image.apply(changed_);
    changed_ = {};
    return result::settled;
  }
  if (!comparing_) {
    if (!is_quiet(database, journal_path)) {
      disturbed_ = false;
      return result::waiting;
    }
    if (!start(image, database)) return result::replaced;
  }
  compare(image, database, slice, buffer);
  if (next_ > pages_) {
    compared_ = is_quiet(database, journal_path);
    comparing_ = compared_;
  }
  return result::working;
}

}  // namespace understudy::capture
