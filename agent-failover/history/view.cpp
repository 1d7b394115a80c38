#include "agent-failover/history/view.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "agent-failover/history/view_body.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::history {
namespace {

constexpr std::uint64_t full_changes = 4096;  // of which the index has every image
constexpr std::size_t cached_blocks = 8;      // 2 MiB of before-images
constexpr std::size_t run_bytes = 256 << 10;  // read from the copy at once, with its recorder held off

absl::Status interrupted() {
  return absl::AbortedError("the history was interrupted; this state cannot be had any more");
}

}  // namespace

absl::Status view::body::start() {
  return build();
}

// The index anew, from the change after the state.
absl::Status view::body::build() {
  index_.clear();
  if (last_change_.sequence == 0) {
    last_change_.sequence = state_;
    last_change_.kind = change_kind::begin;
  }
  const change_log::extent e = log_.range();
  if (!e.exists || state_ < e.first || state_ > e.last) return interrupted();
  full_until_ = state_ + full_changes;
  scanned_change_ = state_;
  scanned_whole_ = true;
  if (state_ == e.last) {
    page_size_ = e.newest.page_size;
    pages_ = e.newest.pages;
    combined_ = e.newest.register_after;
    // Behind the newest change.
    UNDERSTUDY_ASSIGN_OR_RETURN(next_, reader_.find(state_));
    for (bool last = false; !last;) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, reader_.next(next_));
      if (!b) return interrupted();
      last = b->last;
    }
  } else {
    UNDERSTUDY_ASSIGN_OR_RETURN(next_, reader_.find(state_ + 1));
    place at = next_;
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, reader_.next(at));
    if (!b || b->what.kind == change_kind::begin) return interrupted();
    page_size_ = b->what.page_size_before;
    pages_ = b->what.pages_before;
    combined_ = b->what.register_before;
  }
  scanned_ = next_;
  UNDERSTUDY_RETURN_IF_ERROR(reader_.hold(scanned_.segment));
  return scan();
}

absl::Status view::body::scan() {
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, reader_.next(scanned_));
    if (!b) return absl::OkStatus();
    const std::uint64_t expected = scanned_change_ + (scanned_whole_ ? 1 : 0);
    if (b->what.kind == change_kind::begin || b->what.sequence != expected) return interrupted();
    scanned_change_ = b->what.sequence;
    scanned_whole_ = b->last;
    const place at{scanned_.segment, scanned_.offset - b->bytes};
    for (std::uint32_t slot = 0; slot < b->imaged.size(); ++slot) {
      auto& where = index_[b->imaged[slot]];
      if (where.empty() || where.back().sequence <= full_until_)
        where.push_back({b->what.sequence, at, slot});
    }
  }
}

const view::body::image_place* view::body::find(std::uint32_t page) const {
  const auto found = index_.find(page);
  return found == index_.end() ? nullptr : &found->second.front();
}

absl::StatusOr<const std::string*> view::body::images_at(const place& at) {
  ++uses_;
  for (cached& c : cache_) {
    if (c.at == at) {
      c.used = uses_;
      return &c.images;
    }
  }
  place p = at;
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, reader_.next(p));
  if (!b) return interrupted();
  UNDERSTUDY_ASSIGN_OR_RETURN(std::string images, reader_.images(*b, at));
  if (cache_.size() < cached_blocks) {
    cache_.push_back({at, std::move(images), uses_});
    return &cache_.back().images;
  }
  const auto stale = std::min_element(cache_.begin(), cache_.end(),
                                      [](const cached& x, const cached& y) { return x.used < y.used; });
  *stale = {at, std::move(images), uses_};
  return &stale->images;
}

absl::Status view::body::read(std::uint32_t first, std::span<std::byte> bytes) {
  if (bytes.size() % page_size_ != 0) return absl::InvalidArgumentError("not a number of whole pages");
  const std::size_t count = bytes.size() / page_size_;
  if (first == 0 || std::uint64_t{first} + count > std::uint64_t{pages_} + 1) {
    return absl::OutOfRangeError(fmt::format("page {} of {}", std::uint64_t{first} + count - 1, pages_));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t page = first + static_cast<std::uint32_t>(i);
    const auto out = bytes.subspan(i * page_size_, page_size_);
    if (page == sqlite::lock_page(page_size_)) {
      std::fill(out.begin(), out.end(), std::byte{0});
      continue;
    }
    const image_place* where = find(page);
    if (where == nullptr) {
      // The copy's own page is the right one if the log has none: looked up again while neither moves on.
      const auto reading = image_.lock();
      UNDERSTUDY_RETURN_IF_ERROR(scan());
      where = find(page);
      if (where == nullptr) {
        if (!image_.good()) return interrupted();
        UNDERSTUDY_RETURN_IF_ERROR(image_.read(page, out));
        continue;
      }
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string* images, images_at(where->at));
    const auto image = std::as_bytes(std::span(*images)).subspan(std::size_t{where->slot} * page_size_);
    std::copy_n(image.begin(), page_size_, out.begin());
  }
  return absl::OkStatus();
}

absl::Status view::body::read_all(const sink& take) {
  std::vector<std::byte> run(std::max<std::size_t>(run_bytes, page_size_));
  const auto at_once = static_cast<std::uint32_t>(run.size() / page_size_);
  const std::uint32_t skipped = sqlite::lock_page(page_size_);
  std::vector<bool> from_copy(std::size_t{pages_} + 1);
  for (std::uint32_t page = 1; page <= pages_;) {
    std::uint32_t count = 0;
    {
      const auto reading = image_.lock();
      UNDERSTUDY_RETURN_IF_ERROR(scan());
      if (!image_.good()) return interrupted();
      while (page <= pages_ && (index_.contains(page) || page == skipped)) ++page;
      while (page + count <= pages_ && count < at_once && page + count != skipped &&
             !index_.contains(page + count)) {
        ++count;
      }
      if (count > 0) {
        const auto bytes = std::span(run).first(std::size_t{count} * page_size_);
        UNDERSTUDY_RETURN_IF_ERROR(image_.read_run(page, bytes));
      }
    }
    if (count == 0) continue;
    UNDERSTUDY_RETURN_IF_ERROR(take(page, std::span(run).first(std::size_t{count} * page_size_)));
    for (std::uint32_t i = 0; i < count; ++i) from_copy[page + i] = true;
    page += count;
  }
  struct wanted {
    place at;
    std::uint32_t slot;
    std::uint32_t page;
  };
  std::vector<wanted> logged;
  for (std::uint32_t page = 1; page <= pages_; ++page) {
    if (from_copy[page] || page == skipped) continue;
    const image_place* const where = find(page);
    if (where == nullptr) return interrupted();
    logged.push_back({where->at, where->slot, page});
  }
  std::sort(logged.begin(), logged.end(), [](const wanted& x, const wanted& y) {
    return std::tie(x.at.segment, x.at.offset, x.slot) < std::tie(y.at.segment, y.at.offset, y.slot);
  });
  for (const wanted& w : logged) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string* images, images_at(w.at));
    UNDERSTUDY_RETURN_IF_ERROR(take(
        w.page, std::as_bytes(std::span(*images)).subspan(std::size_t{w.slot} * page_size_, page_size_)));
  }
  return absl::OkStatus();
}

absl::Status view::body::advance() {
  UNDERSTUDY_RETURN_IF_ERROR(scan());
  std::vector<std::uint32_t> changed;
  change made;
  place at = next_;
  for (bool last = false; !last;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, reader_.next(at));
    if (!b) return absl::OutOfRangeError("this is the newest state");
    if (b->what.kind == change_kind::begin || b->what.sequence != state_ + 1) return interrupted();
    changed.insert(changed.end(), b->imaged.begin(), b->imaged.end());
    changed.insert(changed.end(), b->listed.begin(), b->listed.end());
    made = b->what;
    last = b->last;
  }
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  state_ = made.sequence;
  last_change_ = made;
  changed_ = std::move(changed);
  next_ = at;
  page_size_ = made.page_size;
  pages_ = made.pages;
  combined_ = made.register_after;
  if (state_ > full_until_) return build();
  for (const std::uint32_t page : changed_) {
    const auto found = index_.find(page);
    if (found == index_.end()) continue;
    std::erase_if(found->second, [&](const image_place& p) { return p.sequence <= state_; });
    if (found->second.empty()) index_.erase(found);
  }
  return absl::OkStatus();
}

view::view(std::unique_ptr<body> b) : body_(std::move(b)) {}
view::~view() = default;
std::uint64_t view::state() const {
  return body_->state();
}
std::uint32_t view::page_size() const {
  return body_->page_size();
}
std::uint32_t view::page_count() const {
  return body_->page_count();
}
absl::Status view::read_page(std::uint32_t number, std::span<std::byte> page) {
  if (page.size() != page_size()) return absl::InvalidArgumentError("not the size of a page");
  return body_->read(number, page);
}
absl::Status view::read_pages(std::uint32_t first, std::span<std::byte> pages) {
  return body_->read(first, pages);
}
const sqlite::page_hash& view::combined() const {
  return body_->combined();
}
absl::Status view::read_all(const sink& take) {
  return body_->read_all(take);
}
absl::Status view::advance() {
  return body_->advance();
}
const change& view::last_change() const {
  return body_->last_change();
}
const std::vector<std::uint32_t>& view::changed_pages() const {
  return body_->changed_pages();
}

}  // namespace understudy::history
