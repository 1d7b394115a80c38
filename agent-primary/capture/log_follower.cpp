#include "agent-primary/capture/log_follower.hpp"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "agent-primary/capture/pin.hpp"
#include "agent-primary/capture/wal_index.hpp"

namespace understudy::capture {
namespace {

constexpr std::size_t read_bytes = 256 << 10;    // one pread: a few tens of frames
constexpr std::uint64_t turn_bytes = 16u << 20;  // then other databases have their turn: about 10 ms
constexpr std::uint32_t least_lag_frames = 64;   // 0.1 ms: below it a pin costs more than reading
constexpr std::uint32_t any_frame = 0xffffffff;

std::uint32_t frame_bytes(std::uint32_t page_size) {
  return sqlite::wal_frame_header_bytes + page_size;
}

std::optional<sqlite::wal_header> read_wal_header(int log) {
  std::array<std::byte, sqlite::wal_header_bytes> bytes;
  if (::pread(log, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  return sqlite::parse_wal_header(bytes);
}

// Calls visit(header, page, chain) for each frame after `frame` that continues the chain, at most to `last`;
// visit returns false to stop. Returns the number of frames visited.
template <class Visit>
std::uint32_t walk(int log, const sqlite::wal_header& generation, std::uint32_t frame,
                   sqlite::wal_checksum chain, std::uint32_t last, std::vector<std::byte>& buffer,
                   Visit visit) {
  const std::uint32_t size = frame_bytes(generation.page_size);
  const auto per_read = std::max<std::uint32_t>(1, read_bytes / size);
  std::uint32_t visited = 0;
  while (frame < last) {
    const std::uint32_t wanted = std::min(last - frame, per_read);
    buffer.resize(std::max<std::size_t>(buffer.size(), std::size_t{wanted} * size));
    const ssize_t got = ::pread(log, buffer.data(), std::size_t{wanted} * size,
                                static_cast<off_t>(sqlite::frame_offset(frame + 1, generation.page_size)));
    const std::uint32_t whole = got <= 0 ? 0 : static_cast<std::uint32_t>(got) / size;
    for (std::uint32_t i = 0; i < whole; ++i) {
      const std::span<const std::byte> bytes(&buffer[std::size_t{i} * size], size);
      const auto header = sqlite::parse_frame_header(bytes.first<sqlite::wal_frame_header_bytes>());
      if (header.salt != generation.salt || header.page_number == 0) return visited;
      const auto page = bytes.subspan(sqlite::wal_frame_header_bytes);
      chain = sqlite::frame_checksum(chain, bytes.first(8), page, generation.big_endian_checksum);
      if (chain != header.checksum) return visited;
      ++frame;
      ++visited;
      if (!visit(header, page)) return visited;
    }
    if (whole < wanted) return visited;
  }
  return visited;
}

}  // namespace

log_follower::log_follower(shared_fd log, bool born, captured_image& image, capture_metrics& metrics,
                           std::vector<std::byte>& buffer, std::chrono::milliseconds longest_pin)
    : log_(std::move(log)),
      born_(born),
      image_(image),
      metrics_(metrics),
      buffer_(buffer),
      longest_pin_(longest_pin),
      attached_(born),
      synchronised_(born) {}

void log_follower::attach_index(os::unique_fd index) {
  index_ = std::move(index);
  held_ = false;
  struct ::stat status;
  index_size_ = ::fstat(index_.value(), &status) == 0 ? status.st_size : 0;
  last_.reset();
  authoritative_ = false;
  check_use();
}

void log_follower::check_use() {
  if (!index_) return;
  const bool was = authoritative_;
  authoritative_ = held_ || probe_index_use(index_.value()) == index_use::connected;
  // A remnant was emptied and rebuilt, or will be: iChange counts from the recovery on.
  if (was != authoritative_ && (was || !born_)) {
    synchronised_ = false;
    last_.reset();
  }
}

bool log_follower::hold() {
  if (held_ || !index_ || !set_lock(index_.value(), F_RDLCK, sqlite::shm_lock_dms, 1)) return held_;
  // The last one may have closed meanwhile.
  held_ = probe_index_use(index_.value()) == index_use::connected;
  if (!held_) set_lock(index_.value(), F_UNLCK, sqlite::shm_lock_dms, 1);
  return held_;
}

bool log_follower::others_connected() const {
  return index_ && probe_index_use(index_.value()) == index_use::connected;
}

void log_follower::let_go() {
  if (std::exchange(held_, false)) set_lock(index_.value(), F_UNLCK, sqlite::shm_lock_dms, 1);
}

bool log_follower::awaits_recovery() const {
  return index_ && !index_is_initialised(index_.value()) &&
         conflicting_lock(index_.value(), F_WRLCK, sqlite::shm_lock_write, 1) == F_UNLCK;
}

void log_follower::index_was_written() {
  struct ::stat status;
  if (!index_ || ::fstat(index_.value(), &status) != 0) return;
  if (status.st_size > index_size_) {
    index_size_ = status.st_size;
    return;
  }
  index_size_ = status.st_size;
  synchronised_ = born_ && commits_ == 0 && !generation_;
  last_.reset();
}

log_follower::result log_follower::lose(std::string reason) {
  reason_ = std::move(reason);
  return result::lost;
}

void log_follower::forget_uncommitted() {
  at_ = committed_;
  pending_.clear();
}

void log_follower::synchronise(std::uint32_t change) {
  if (synchronised_ && since_.all != since_.distinct) {
    const std::uint32_t step = change - change_;
    if (step == since_.all) padding_ = padding::absent;
    if (step == since_.distinct) padding_ = padding::present;
  }
  synchronised_ = attached_ = true;
  change_ = change;
  since_ = {};
}

// Two adjacent transactions that write the same bytes look like padding. Which of the two it is, the steps of
// iChange inside generations have told; where they have not, ambiguity is a loss.
bool log_follower::counts_match(std::uint32_t commits_by_index, const commit_count& seen) const {
  if (seen.all == seen.distinct) return commits_by_index == seen.all;
  switch (padding_) {
    case padding::absent:
      return commits_by_index == seen.all;
    case padding::present:
      return commits_by_index == seen.distinct;
    case padding::unknown:
      return commits_by_index == seen.distinct;
  }
  return false;
}

bool log_follower::take(const sqlite::wal_frame_header& frame, std::span<const std::byte> page) {
  const log_transaction::frame now{
      .page = frame.page_number, .number = at_.frame, .hash = sqlite::hash_page(frame.page_number, page)};
  ++metrics_.frames;
  const bool repeated = frame.commit_pages != 0 && pending_.frames.empty() && previous_commit_ &&
                        previous_commit_->page == now.page && previous_commit_->hash == now.hash &&
                        pending_.commit_pages == frame.commit_pages;
  if (repeated) {
    ++since_.all;
    committed_ = at_;
    return true;
  }
  const bool keep = pending_.pages_complete && image_.has_subscribers() &&
                    pending_.page_bytes + page.size() <= image_.queue_limit_bytes();
  if (!keep && pending_.pages_complete) {
    pending_.pages_complete = false;
    pending_.pages.clear();
    pending_.pages.shrink_to_fit();
  }
  pending_.frames.push_back(now);
  pending_.page_bytes += page.size();
  if (keep) {
    pending_.pages.push_back(
        {.number = now.page, .bytes = std::string(reinterpret_cast<const char*>(page.data()), page.size())});
  }
  if (frame.commit_pages == 0) return true;
  // Pages that SQLite adds without logging them stand on a freelist page that it logs: a quarter of the page
  // size in number at most. Anything beyond is no SQLite log, and would have us reserve memory for it.
  const std::uint64_t growth = frame.commit_pages - std::min(frame.commit_pages, image_.pages());
  if (growth > pending_.frames.size() * (page.size() / 4)) return false;
  pending_.page_size = static_cast<std::uint32_t>(page.size());
  pending_.commit_pages = frame.commit_pages;
  image_.apply(pending_);
  pending_.clear();
  previous_commit_ = now;
  committed_ = at_;
  ++since_.all;
  ++since_.distinct;
  ++commits_;
  ++metrics_.commits;
  return true;
}

log_follower::reading log_follower::read_to(std::uint32_t last, std::uint32_t frame_limit) {
  const std::uint32_t stop = last - at_.frame > frame_limit ? at_.frame + frame_limit : last;
  bool broken = false;
  walk(log_->value(), *generation_, at_.frame, at_.chain, stop, buffer_,
       [this, &broken](const sqlite::wal_frame_header& frame, std::span<const std::byte> page) {
         ++at_.frame;
         at_.chain = frame.checksum;
         broken = !take(frame, page);
         return !broken;
       });
  if (broken) {
    forget_uncommitted();
    return reading::broken;
  }
  if (at_.frame == last) return reading::complete;
  if (at_.frame == stop) return reading::partial;
  forget_uncommitted();
  return reading::broken;
}

bool log_follower::load_generation(const sqlite::salts& salt) {
  const auto header = read_wal_header(log_->value());
  if (!header || header->salt != salt) return false;
  generation_ = header;
  at_ = {.frame = 0, .chain = header->checksum};
  committed_ = at_;
  pending_.clear();
  previous_commit_.reset();
  image_.begin_generation(log_, salt);
  return true;
}

std::optional<log_follower::commit_count> log_follower::count_commits(const sqlite::wal_header& header,
                                                                      std::uint32_t last) const {
  commit_count count;
  std::uint32_t page_number = 0;
  std::uint32_t commit_pages = 0;
  sqlite::page_hash hash;
  bool after_commit = false;
  const std::uint32_t read =
      walk(log_->value(), header, 0, header.checksum, last, buffer_,
           [&](const sqlite::wal_frame_header& frame, std::span<const std::byte> page) {
             if (frame.commit_pages == 0) {
               after_commit = false;
               return true;
             }
             const auto now = sqlite::hash_page(frame.page_number, page);
             ++count.all;
             if (!after_commit || frame.page_number != page_number || frame.commit_pages != commit_pages ||
                 now != hash) {
               ++count.distinct;
             }
             after_commit = true;
             page_number = frame.page_number;
             commit_pages = frame.commit_pages;
             hash = now;
             return true;
           });
  if (read != last) return std::nullopt;
  return count;
}

bool log_follower::rescue_tail(std::uint32_t missing) {
  // A generation of which not one frame was seen: its header is still there until the next one's first
  // commit.
  if (!generation_ && (!empty_salt_ || !load_generation(*empty_salt_))) return false;
  forget_uncommitted();
  const std::uint32_t target = (padding_ == padding::present ? since_.distinct : since_.all) + missing;
  // One commit after the other, so that nothing is taken beyond what iChange says was committed.
  while ((padding_ == padding::present ? since_.distinct : since_.all) < target) {
    const std::uint32_t before = since_.all;
    walk(log_->value(), *generation_, at_.frame, at_.chain, any_frame, buffer_,
         [this](const sqlite::wal_frame_header& frame, std::span<const std::byte> page) {
           ++at_.frame;
           at_.chain = frame.checksum;
           return take(frame, page) && frame.commit_pages == 0;
         });
    if (since_.all == before) {
      forget_uncommitted();
      return false;
    }
  }
  // Was it commits or padding that was counted? Where that is not known yet, only what reads the same both
  // ways.
  if (padding_ == padding::unknown && since_.all != since_.distinct) return false;
  ++metrics_.rescued_tails;
  return true;
}

log_follower::result log_follower::change_generation(const sqlite::wal_index_header& header) {
  forget_uncommitted();
  commit_count fresh;
  if (header.max_frame > 0) {
    const auto log_header = read_wal_header(log_->value());
    if (!log_header || log_header->salt != header.salt) return result::unreadable;
    if (log_header->page_size != image_.page_size()) {
      return lose(
          fmt::format("the page size changed from {} to {}", image_.page_size(), log_header->page_size));
    }
    const auto counted = count_commits(*log_header, header.max_frame);
    if (!counted) return result::unreadable;
    fresh = *counted;
  }
  const bool first = !attached_;  // met as it was: nothing to continue from
  if (first && commits_ > 0) {
    // What it wrote after that is in the database file, where the scan would not look for these pages again.
    return lose("the log was started over while it was first read");
  }
  if (!first) {
    if (!synchronised_) return lose("the wal-index was rebuilt and the log started over meanwhile");
    const std::uint32_t step = header.change - change_;
    const commit_count seen{since_.all + fresh.all, since_.distinct + fresh.distinct};
    if (!counts_match(step, seen)) {
      const std::uint32_t have = padding_ == padding::present ? seen.distinct : seen.all;
      const bool rescued = step > have && rescue_tail(step - have);
      if (!rescued) {
        return lose(fmt::format(
            "the log was started over before it was read: {} commits happened, {} were seen", step, have));
      }
    }
    if (generation_ && committed_.frame > 0) {
      ++metrics_.resets;
      shortest_generation_ = std::min(shortest_generation_, std::max<std::uint32_t>(committed_.frame, 8));
    }
    change_ = header.change - (padding_ == padding::present ? fresh.distinct : fresh.all);
    since_ = {};
  }
  if (header.max_frame == 0) {
    generation_.reset();
    at_ = committed_ = {};
    image_.end_generation();
    empty_salt_ = header.salt;
    synchronise(header.change);
    last_ = header;
    return result::progressed;
  }
  if (!load_generation(header.salt)) {
    generation_.reset();
    at_ = committed_ = {};
    return result::unreadable;
  }
  return result::progressed;
}

bool log_follower::should_pin(const sqlite::wal_index_header& header) const {
  const std::uint32_t lag = header.max_frame - std::min(header.max_frame, at_.frame);
  return header.max_frame > shortest_generation_ / 2 &&
         lag > std::max(least_lag_frames, shortest_generation_ / 16);
}

log_follower::result log_follower::follow(const sqlite::wal_index_header& header) {
  if (generation_ ? header.salt != generation_->salt : header.max_frame > 0) {
    const result changed = change_generation(header);
    if (changed != result::progressed || header.max_frame == 0) return changed;
  } else if (!generation_) {
    if (!attached_) synchronise(header.change);
    if (!synchronised_) return lose("the wal-index was rebuilt over an empty log");
    if (header.change != change_) return change_generation(header);  // a whole generation went by unseen
    empty_salt_ = header.salt;
    last_ = header;
    return result::nothing;
  }
  if (header.max_frame < committed_.frame) {
    return lose(fmt::format("the log went back from frame {} to {}", committed_.frame, header.max_frame));
  }
  const auto limit = static_cast<std::uint32_t>(turn_bytes / generation_->page_size);
  switch (read_to(header.max_frame, limit)) {
    case reading::partial:
      return result::more;
    case reading::broken:
      return result::unreadable;
    case reading::complete:
      break;
  }
  if (at_.chain != header.frame_checksum || at_.frame != committed_.frame) {
    return lose(fmt::format("frame {} of the log is not the one that the wal-index names", header.max_frame));
  }
  synchronise(header.change);
  last_ = header;
  return result::progressed;
}

log_follower::result log_follower::poll() {
  if (!authoritative_) {
    check_use();
    if (!authoritative_) return result::nothing;
  }
  ++metrics_.polls;
  auto header = read_wal_index(index_.value());
  if (!header) return result::unreadable;
  if (last_ && *header == *last_) return result::nothing;
  const bool same = generation_ && header->salt == generation_->salt;
  metrics_.lag_frames = header->max_frame - (same ? std::min(at_.frame, header->max_frame) : 0);
  metrics_.log_frames = header->max_frame;

  std::optional<read_pin> pin;
  if (should_pin(*header)) {
    pin.emplace(index_.value(), metrics_);
    header = read_wal_index(index_.value());
    if (!header) return result::unreadable;
  }
  result last = follow(*header);
  bool any = last == result::progressed;
  // While pinned, catch up wholly; unpinned, the next poll does.
  while (pin && pin->held() && (last == result::more || last == result::progressed)) {
    if (pin->held_for() > longest_pin_) {
      ++metrics_.pin_timeouts;
      break;
    }
    header = read_wal_index(index_.value());
    if (!header || (last_ && *header == *last_)) break;
    last = follow(*header);
    any = any || last == result::progressed;
  }
  if (last == result::progressed) metrics_.lag_frames = 0;
  return last == result::nothing && any ? result::progressed : last;
}

log_follower::result log_follower::read_by_chain() {
  attached_ = true;
  const auto header = read_wal_header(log_->value());
  if (!header) return result::nothing;
  if (header->page_size != image_.page_size()) {
    return lose(
        fmt::format("the log's page size is {}, the database's {}", header->page_size, image_.page_size()));
  }
  const std::uint64_t before = commits_;
  if (!generation_) {
    if (born_ && header->checkpoint_sequence != 0) {
      return lose("the log was started over before it was first read");
    }
    if (!load_generation(header->salt)) return result::unreadable;
  } else if (generation_->salt != header->salt) {
    return lose("the log was started over, and no wal-index tells what was committed before");
  }
  read_to(any_frame, any_frame - at_.frame);
  return commits_ == before ? result::nothing : result::progressed;
}

log_follower::result log_follower::finish() {
  // The last connection leaves the wal-index as it was when it unlinked it: still the exact end of the log.
  if (index_ && (authoritative_ || born_)) {
    constexpr int attempts = 3;
    for (int attempt = 0; attempt < attempts;) {
      const auto header = read_wal_index(index_.value());
      if (!header) break;
      if (last_ && *header == *last_) return result::progressed;
      const result step = follow(*header);
      if (step == result::lost) return step;
      if (step == result::unreadable) ++attempt;
      if (step == result::nothing) return result::progressed;
    }
    if (read_wal_index(index_.value()))
      return lose("the deleted log does not have the frames that were committed");
  }
  return read_by_chain();
}

}  // namespace understudy::capture
