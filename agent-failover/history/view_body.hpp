#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent-failover/history/change_log_reader.hpp"
#include "agent-failover/history/current_image.hpp"
#include "agent-failover/history/view.hpp"

namespace understudy::history {

// What a view consists of. Its index has, for each page that changed after its state, where the log has the
// images: all of them up to `full_until_`, so that advancing is cheap, and beyond that the first only, so
// that a view far back costs memory by the pages of the database and not by the length of the log.
class view::body {
 public:
  // `owner` keeps log and image alive.
  body(std::shared_ptr<const void> owner, const change_log& l, const current_image& image,
       std::uint64_t state)
      : owner_(std::move(owner)), log_(l), reader_(l), image_(image), state_(state) {}

  absl::Status start();

  std::uint64_t state() const { return state_; }
  std::uint32_t page_size() const { return page_size_; }
  std::uint32_t page_count() const { return pages_; }
  absl::Status read(std::uint32_t first, std::span<std::byte> bytes);
  absl::Status advance();
  const change& last_change() const { return last_change_; }
  const std::vector<std::uint32_t>& changed_pages() const { return changed_; }

  const sqlite::page_hash& combined() const { return combined_; }
  // First those that are as in the copy, then those of the log, block by block.
  absl::Status read_all(const sink& take);

 private:
  struct image_place {
    std::uint64_t sequence = 0;
    place at;
    std::uint32_t slot = 0;  // among the block's images
  };
  struct cached {
    place at;
    std::string images;
    std::uint64_t used = 0;
  };

  absl::Status build();
  absl::Status scan();
  const image_place* find(std::uint32_t page) const;
  absl::StatusOr<const std::string*> images_at(const place& at);

  const std::shared_ptr<const void> owner_;
  const change_log& log_;
  change_log_reader reader_;
  const current_image& image_;
  std::uint64_t state_ = 0;
  std::uint32_t page_size_ = 0;
  std::uint32_t pages_ = 0;
  sqlite::page_hash combined_;
  change last_change_;
  std::vector<std::uint32_t> changed_;
  place next_;                        // of the change after state_
  place scanned_;                     // up to here the log is in the index
  std::uint64_t scanned_change_ = 0;  // the change that the last block belongs to
  bool scanned_whole_ = true;         // and whether it was its last block
  std::uint64_t full_until_ = 0;
  std::unordered_map<std::uint32_t, std::vector<image_place>> index_;
  std::vector<cached> cache_;
  std::uint64_t uses_ = 0;
};

}  // namespace understudy::history
