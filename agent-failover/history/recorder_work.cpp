// recorder: writing the log, on the keeper's thread.

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "agent-failover/history/recorder.hpp"
#include "common/log/log.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::history {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds retry_pause{5};      // when the log cannot be written
constexpr std::uint64_t room_step = 1 << 20;        // bytes between two looks at the bounds
constexpr std::size_t most_unpublished = 16 << 10;  // pages of changes that are shown at once
constexpr std::uint32_t far_behind_frames = 4096;   // from here on it is written as it is: compressing costs
                                                    // four times what writing does

absl::Status void_now() {
  return absl::AbortedError("the copy went on without its history");
}

}  // namespace

std::optional<steady_clock::time_point> recorder::work() {
  if (log_ == nullptr) {
    auto opened = opens_();
    if (!opened.ok()) {
      const std::lock_guard lock(mutex_);
      recording_ = false;
      if (!gap_) gap_ = "its log cannot be opened";
      failure_ = std::string(message_of(opened.status()));
      recorded_.notify_all();
      return steady_clock::now() + retry_pause;
    }
    log_ = *std::move(opened);
    records_ = log_.get();
  }
  for (;;) {
    std::vector<std::shared_ptr<const item>> items;
    std::optional<std::string> gap;
    replica::observed_image image;
    state now;
    bool sync = false;
    {
      const std::lock_guard lock(mutex_);
      items.assign(queue_.begin(), queue_.end());
      gap = gap_;
      image = newest_image_;
      now = newest_;
      sync = sync_wanted_;
      working_on_ = life_;
      compress_ = newest_frame_ - recorded_frame_ < far_behind_frames;
    }
    if (gap) {
      if (image.database == nullptr) return std::nullopt;
      if (const absl::Status begun = skip(items, image, now, *gap); !begun.ok()) {
        if (absl::IsAborted(begun)) continue;
        const std::lock_guard lock(mutex_);
        if (failure_.empty()) {
          log::warning(given_.server, "{}: its history cannot be kept at present: {}", given_.catalog,
                       message_of(begun));
        }
        failure_ = std::string(message_of(begun));
        return steady_clock::now() + retry_pause;
      }
      tell_waiters();
      continue;
    }
    if (items.empty() && !sync) return std::nullopt;
    absl::Status recorded;
    std::size_t shown = 0;
    for (std::size_t i = 0; i < items.size() && recorded.ok(); ++i) {
      recorded = record(*items[i]);
      const bool more = i + 1 < items.size() && unpublished_.size() < most_unpublished && !log_->full();
      if (!recorded.ok() || more) continue;
      recorded = publish();
      if (!recorded.ok()) break;
      const std::lock_guard lock(mutex_);
      if (life_ != working_on_) break;
      for (; shown <= i; ++shown) {
        behind_ -= items[shown]->transactions;
        recorded_frame_ = items[shown]->last_frame;
        queue_.pop_front();
      }
      if (behind_ == 0) recorded_.notify_all();
    }
    if (recorded.ok() && sync) {
      recorded = log_->sync();
      const std::lock_guard lock(mutex_);
      if (recorded.ok() && life_ == working_on_) {
        durable_frame_ = recorded_frame_;
        // What was queued meanwhile is waited for as well.
        sync_wanted_ = !queue_.empty();
        recorded_.notify_all();
      }
    }
    if (!recorded.ok()) {
      unpublished_.clear();
      (void)log_->drop_unshown();
      bool gave_up = true;
      {
        const std::lock_guard lock(mutex_);
        gave_up = life_ == working_on_;
      }
      if (gave_up) give_up(std::string(message_of(recorded)));
      continue;
    }
    if (shown > 0) tell_waiters();
  }
}

void recorder::tell_waiters() {
  const std::lock_guard lock(waiters_mutex_);
  std::erase_if(waiters_, [](const std::weak_ptr<news>& one) {
    const auto waiter = one.lock();
    if (waiter) waiter->tell();
    return waiter == nullptr;
  });
}

absl::Status recorder::still_wanted() const {
  const std::lock_guard lock(mutex_);
  return life_ == working_on_ ? absl::OkStatus() : void_now();
}

absl::Status recorder::record(const item& work) {
  if (const auto* opened = std::get_if<opened_work>(&work.what))
    return record_opened(*opened, work.applied_at);
  if (const auto* commits = std::get_if<commits_work>(&work.what)) {
    return record_commits(*commits, work.first_frame, work.applied_at);
  }
  return record_replaced(std::get<replaced_work>(work.what), work.applied_at);
}

absl::Status recorder::publish(const replica::observed_image* to) {
  UNDERSTUDY_RETURN_IF_ERROR(log_->write());
  const auto reading = image_.lock();
  UNDERSTUDY_RETURN_IF_ERROR(still_wanted());
  // Together: a state that can be asked for is one that the image is at, or after.
  log_->show();
  if (to != nullptr) {
    image_.set(*to, {});
    image_.heal();
  } else {
    image_.add(unpublished_);
  }
  unpublished_.clear();
  return absl::OkStatus();
}

absl::Status recorder::room_for(std::uint64_t bytes) {
  since_room_ += bytes;
  if (since_room_ < room_step || !given_.make_room) return absl::OkStatus();
  const std::uint64_t wanted = std::exchange(since_room_, 0);
  // Only what is shown can be dropped, and only then.
  if (given_.make_room(wanted)) return absl::OkStatus();
  return absl::ResourceExhaustedError("there is no room for its log (history.bytes, or the disk)");
}

absl::Status recorder::write_change(const change& c, const page_lists& pages, const reader& before,
                                    const std::optional<sqlite::page_hash>& written) {
  const std::size_t size = c.page_size_before;
  const std::size_t at_once = std::max<std::size_t>(1, largest_images / size);
  sqlite::page_hash proof = c.register_before;
  std::size_t imaged = 0;
  std::size_t listed = 0;
  std::string images;
  do {
    block b;
    b.what = c;
    const std::size_t count = std::min(at_once, pages.imaged.size() - imaged);
    b.imaged.assign(pages.imaged.begin() + static_cast<std::ptrdiff_t>(imaged),
                    pages.imaged.begin() + static_cast<std::ptrdiff_t>(imaged + count));
    imaged += count;
    const std::size_t names = std::min<std::size_t>(most_listed, pages.listed.size() - listed);
    b.listed.assign(pages.listed.begin() + static_cast<std::ptrdiff_t>(listed),
                    pages.listed.begin() + static_cast<std::ptrdiff_t>(listed + names));
    listed += names;
    images.resize(count * size);
    for (std::size_t i = 0; i < count; ++i) {
      const auto bytes = std::as_writable_bytes(std::span(images)).subspan(i * size, size);
      UNDERSTUDY_RETURN_IF_ERROR(before(b.imaged[i], bytes));
      if (written) proof ^= sqlite::hash_page(b.imaged[i], bytes);
    }
    b.last = imaged == pages.imaged.size() && listed == pages.listed.size();
    if (b.last && written && (proof ^ *written) != c.register_after) {
      return absl::DataLossError("the copy was changed from outside");
    }
    UNDERSTUDY_RETURN_IF_ERROR(room_for(images.size() + block_header_bytes + 4 * (count + names)));
    UNDERSTUDY_RETURN_IF_ERROR(log_->append(b, images, compress_));
    if (b.last) return absl::OkStatus();
  } while (true);
}

absl::Status recorder::record_commits(const commits_work& work, std::uint32_t first_frame,
                                      clock_time applied_at) {
  if (!in_step_) return absl::AbortedError("the copy was not known when a transaction came");
  std::uint32_t frame = first_frame;
  for (const replica::observed_commit& commit : work.commits) {
    change c;
    c.kind = commit.heal ? change_kind::heal : change_kind::transaction;
    c.time_estimated = work.estimated;
    c.number = commit.number;
    c.committed_at = commit.committed_at == clock_time{} ? applied_at : commit.committed_at;
    c.applied_at = applied_at;
    c.page_size_before = c.page_size = state_.page_size;
    c.pages_before = state_.pages;
    c.pages = commit.database_pages;
    c.register_before = state_.combined;
    c.register_after = commit.register_after;
    c.sequence = next_++;

    frame_map newest;
    for (; frame < commit.last_frame; ++frame) newest[work.frames[frame - first_frame]] = frame + 1;
    page_lists pages;
    for (const auto& [page, at] : newest) {
      if (page <= c.pages_before) {
        pages.imaged.push_back(page);
      } else if (page <= c.pages) {
        pages.listed.push_back(page);
      }
    }
    for (std::uint32_t page = c.pages + 1; page <= c.pages_before; ++page) {
      if (page != sqlite::lock_page(c.page_size) && !newest.contains(page)) pages.imaged.push_back(page);
    }
    std::sort(pages.imaged.begin(), pages.imaged.end());
    std::sort(pages.listed.begin(), pages.listed.end());
    sqlite::page_hash written;
    for (const replica::changed_page& page : commit.pages) {
      if (page.number <= c.pages) written ^= page.hash;
    }
    const auto before = [this](std::uint32_t page, std::span<std::byte> bytes) {
      const auto reading = image_.lock();
      UNDERSTUDY_RETURN_IF_ERROR(still_wanted());
      return image_.read(page, bytes, &unpublished_);
    };
    UNDERSTUDY_RETURN_IF_ERROR(write_change(c, pages, before, written));
    for (const auto& [page, at] : newest) unpublished_[page] = at;
    state_ = {c.page_size, c.pages, c.register_after};
  }
  return absl::OkStatus();
}

absl::Status recorder::record_replaced(const replaced_work& work, clock_time applied_at) {
  const state now{work.image.page_size, work.image.database_pages, work.image.combined};
  const clock_time at = work.committed_at == clock_time{} ? applied_at : work.committed_at;
  if (work.former.database == nullptr) {
    UNDERSTUDY_RETURN_IF_ERROR(begin(now, "the first copy was made then", false, at, applied_at));
    return publish(&work.image);
  }
  if (!in_step_ || work.former.combined != state_.combined || work.former.page_size != state_.page_size ||
      work.former.database_pages != state_.pages) {
    return absl::DataLossError("the copy was changed from outside");
  }
  change c;
  c.kind = change_kind::heal;
  c.committed_at = at;
  c.applied_at = applied_at;
  c.page_size_before = state_.page_size;
  c.page_size = now.page_size;
  c.pages_before = state_.pages;
  c.pages = now.pages;
  c.register_before = state_.combined;
  c.register_after = now.combined;
  c.sequence = next_++;
  page_lists pages;
  for (const std::uint32_t page : work.different) {
    if (page != sqlite::lock_page(c.page_size_before)) pages.imaged.push_back(page);
  }
  for (std::uint32_t page = c.page_size == c.page_size_before ? c.pages_before + 1 : 1; page <= c.pages;
       ++page) {
    pages.listed.push_back(page);
  }
  const auto before = [&](std::uint32_t page, std::span<std::byte> bytes) -> absl::Status {
    UNDERSTUDY_RETURN_IF_ERROR(still_wanted());
    UNDERSTUDY_ASSIGN_OR_RETURN(
        const std::size_t n,
        work.former.database->read_at(bytes, std::uint64_t{page - 1} * c.page_size_before));
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(n), bytes.end(), std::byte{0});
    return absl::OkStatus();
  };
  UNDERSTUDY_RETURN_IF_ERROR(publish());
  // So that older ones can make room for a large one.
  if (pages.imaged.size() * std::uint64_t{c.page_size_before} > room_step)
    UNDERSTUDY_RETURN_IF_ERROR(log_->rotate());
  UNDERSTUDY_RETURN_IF_ERROR(write_change(c, pages, before, std::nullopt));
  state_ = now;
  return publish(&work.image);
}

absl::Status recorder::begin(const state& now, std::string_view why, bool interrupted,
                             clock_time committed_at, clock_time applied_at) {
  unpublished_.clear();
  UNDERSTUDY_RETURN_IF_ERROR(log_->drop_unshown());
  change c;
  c.time_estimated = interrupted;
  c.committed_at = committed_at;
  c.applied_at = applied_at;
  c.page_size = now.page_size;
  c.pages = now.pages;
  c.register_after = now.combined;
  UNDERSTUDY_RETURN_IF_ERROR(log_->begin(c, why));
  state_ = now;
  in_step_ = true;
  next_ = log_->last()->sequence + 1;
  if (interrupted) log::warning(given_.server, "{}: its history begins anew: {}", given_.catalog, why);
  return absl::OkStatus();
}

absl::Status recorder::skip(const std::vector<std::shared_ptr<const item>>& items,
                            const replica::observed_image& image, const state& now, const std::string& why) {
  in_step_ = false;
  frame_map frames;
  bool whole = false;  // the items say all there is to know of the frames
  for (const auto& one : items) {
    if (const auto* opened = std::get_if<opened_work>(&one->what)) {
      frames.clear();
      for (std::size_t i = 0; i < opened->frames.size(); ++i)
        frames[opened->frames[i]] = static_cast<std::uint32_t>(i + 1);
      whole = true;
    } else if (const auto* commits = std::get_if<commits_work>(&one->what)) {
      for (std::size_t i = 0; i < commits->frames.size(); ++i)
        frames[commits->frames[i]] = one->first_frame + static_cast<std::uint32_t>(i + 1);
    } else {
      frames.clear();
      whole = true;
    }
  }
  const clock_time at = std::chrono::system_clock::now();
  clock_time committed_at = at;
  if (!items.empty()) {
    if (const auto* commits = std::get_if<commits_work>(&items.back()->what)) {
      if (commits->commits.back().committed_at != clock_time{})
        committed_at = commits->commits.back().committed_at;
    }
  }
  UNDERSTUDY_RETURN_IF_ERROR(begin(now, why, true, committed_at, at));
  const auto reading = image_.lock();
  const std::lock_guard lock(mutex_);
  if (life_ != working_on_) return void_now();
  if (whole) {
    image_.set(image, std::move(frames));
  } else {
    image_.set_files(image);
    image_.add(frames);
  }
  image_.heal();
  for (std::size_t i = 0; i < items.size(); ++i) queue_.pop_front();
  behind_ = 0;
  for (const auto& rest : queue_) behind_ += rest->transactions;
  if (!items.empty()) recorded_frame_ = durable_frame_ = items.back()->last_frame;
  gap_.reset();
  failure_.clear();
  recording_ = true;
  lagging_since_.reset();
  return absl::OkStatus();
}

}  // namespace understudy::history
