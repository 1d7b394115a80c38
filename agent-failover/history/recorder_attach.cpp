// recorder: where the log of a copy that was just opened goes on.
//
// The log ends with the state after some commit: the last one in the copy's -wal, an earlier one there (after
// a crash), or what the database file held before the first of them. Going back commit by commit, each undone
// in the register by the hashes of the pages before and after it, shows which; when none fits, somebody else
// changed the copy.

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "agent-failover/history/recorder.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::history {
namespace {

// The frames of each page, ascending.
using page_frames = std::unordered_map<std::uint32_t, std::vector<std::uint32_t>>;

// The newest frame of a page up to `last`; 0: there is none.
std::uint32_t newest(const page_frames& all, std::uint32_t page, std::uint32_t last) {
  const auto found = all.find(page);
  if (found == all.end()) return 0;
  const auto after = std::upper_bound(found->second.begin(), found->second.end(), last);
  return after == found->second.begin() ? 0 : *std::prev(after);
}

}  // namespace

absl::Status recorder::record_opened(const opened_work& work, clock_time applied_at) {
  const replica::observed_image& image = work.image;
  {
    const auto reading = image_.lock();
    UNDERSTUDY_RETURN_IF_ERROR(still_wanted());
    image_.set(image, {});
  }
  unpublished_.clear();
  UNDERSTUDY_RETURN_IF_ERROR(log_->drop_unshown());
  in_step_ = false;
  const std::optional<change> head = log_->last();
  const state now{image.page_size, image.database_pages, image.combined};
  page_frames all;
  for (std::size_t i = 0; i < work.frames.size(); ++i)
    all[work.frames[i]].push_back(static_cast<std::uint32_t>(i + 1));
  std::vector<std::byte> bytes(image.page_size);
  const auto hash_at = [&](std::uint32_t page, std::uint32_t upto) -> absl::StatusOr<sqlite::page_hash> {
    if (page == sqlite::lock_page(image.page_size)) return sqlite::page_hash{};
    const auto reading = image_.lock();
    UNDERSTUDY_RETURN_IF_ERROR(still_wanted());
    const std::uint32_t frame = newest(all, page, upto);
    UNDERSTUDY_RETURN_IF_ERROR(frame != 0 ? image_.read_frame(frame, bytes)
                                          : image_.read_stored(page, bytes));
    return sqlite::hash_page(page, bytes);
  };

  // What the log lacks, the newest first.
  std::vector<replica::observed_commit> missing;
  sqlite::page_hash combined = image.combined;
  std::size_t left = work.commits.size();
  bool found = false;
  while (head && head->page_size == image.page_size) {
    const std::uint32_t pages = left > 0 ? work.commits[left - 1].database_pages : head->pages;
    found = head->register_after == combined && head->pages == (missing.empty() ? now.pages : pages);
    if (found || left == 0) break;
    const std::uint32_t last = work.commits[left - 1].last_frame;
    const std::uint32_t before = left > 1 ? work.commits[left - 2].last_frame : 0;
    const std::uint32_t pages_before = left > 1 ? work.commits[left - 2].database_pages : head->pages;
    replica::observed_commit commit;
    commit.last_frame = last;
    commit.database_pages = pages;
    commit.register_after = combined;
    for (std::uint32_t frame = before + 1; frame <= last; ++frame) {
      const std::uint32_t page = work.frames[frame - 1];
      if (newest(all, page, last) != frame) continue;
      UNDERSTUDY_ASSIGN_OR_RETURN(const sqlite::page_hash after, hash_at(page, last));
      commit.pages.push_back({page, after});
      if (page <= pages) combined ^= after;
      if (page > pages_before) continue;
      UNDERSTUDY_ASSIGN_OR_RETURN(const sqlite::page_hash former, hash_at(page, before));
      combined ^= former;
    }
    for (std::uint32_t page = pages + 1; page <= pages_before; ++page) {
      const std::uint32_t frame = newest(all, page, last);
      if (frame > before) continue;
      UNDERSTUDY_ASSIGN_OR_RETURN(const sqlite::page_hash former, hash_at(page, before));
      combined ^= former;
    }
    missing.push_back(std::move(commit));
    --left;
  }

  if (!found) {
    frame_map frames;
    for (const auto& [page, where] : all) frames[page] = where.back();
    std::string why = "it is kept since then";
    if (head) {
      const std::lock_guard lock(mutex_);
      why = expected_.empty() ? "the copy was changed from outside" : expected_;
    }
    UNDERSTUDY_RETURN_IF_ERROR(begin(now, why, head.has_value(), applied_at, applied_at));
    unpublished_ = std::move(frames);
  } else {
    state_ = {head->page_size, head->pages, head->register_after};
    next_ = head->sequence + 1;
    in_step_ = true;
    const std::uint32_t last = left > 0 ? work.commits[left - 1].last_frame : 0;
    for (const auto& [page, where] : all) {
      if (const std::uint32_t frame = newest(all, page, last); frame != 0) unpublished_[page] = frame;
    }
    if (!missing.empty()) {
      std::reverse(missing.begin(), missing.end());
      // When they came is not known any more but for the last, which the file's time tells.
      UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, image.wal->status());
      const clock_time written = clock_time(std::chrono::duration_cast<clock_time::duration>(
          std::chrono::seconds(s.st_mtim.tv_sec) + std::chrono::nanoseconds(s.st_mtim.tv_nsec)));
      const clock_time at = std::max(head->committed_at, std::min(written, applied_at));
      for (auto& commit : missing) commit.committed_at = at;
      commits_work lost{.frames = {work.frames.begin() + last, work.frames.end()},
                        .commits = std::move(missing),
                        .estimated = true};
      UNDERSTUDY_RETURN_IF_ERROR(record_commits(lost, last, applied_at));
    }
  }
  {
    const std::lock_guard lock(mutex_);
    expected_.clear();
  }
  UNDERSTUDY_RETURN_IF_ERROR(publish());
  const auto reading = image_.lock();
  UNDERSTUDY_RETURN_IF_ERROR(still_wanted());
  image_.heal();
  return absl::OkStatus();
}

}  // namespace understudy::history
