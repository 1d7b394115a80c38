#pragma once

// Finds the pages in which the receiver's image differs from the source's, by asking for hashes of ever
// smaller blocks of those blocks that differ: 4096 pages, 64, 8, 1. (1 GiB with 1 % of its pages changed at
// random costs 330 KB of hashes: coarser middle blocks all differ, finer ones are many. See
// channel_traffic_test.cpp.)
//
// The source may change meanwhile: what it says is compared as of the moment an answer arrives, which is
// right as long as the pages that change after the comparison began are sent anyway.

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "common/channel/database_source.hpp"
#include "common/channel/page_set.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

class image_comparison {
 public:
  // `differing` receives the pages; pages that the receiver lacks go in at once.
  image_comparison(const database_source& source, std::uint32_t source_pages, std::uint32_t sink_pages,
                   page_set& differing);

  bool done() const { return level_ == LEVELS; }
  // The next question, unless enough are under way.
  std::optional<v1::HashQuestion> next_question();
  // kInvalidArgument: not an answer to the oldest question under way.
  absl::Status receive(const v1::HashAnswer& answer);

 private:
  static constexpr std::uint32_t BLOCKS[] = {4096, 64, 8, 1};  // pages
  static constexpr int LEVELS = 4;
  static constexpr std::size_t UNDER_WAY = 4;  // questions: keeps the wire busy across a round trip

  void finish_level();

  const database_source& source_;
  page_set& differing_;
  std::uint32_t pages_;  // that both have
  int level_ = 0;
  std::uint32_t blocks_each_ = 1;
  std::vector<std::uint32_t> to_ask_;  // first pages of this level's runs
  std::size_t asked_ = 0;
  std::vector<std::uint32_t> found_;  // blocks of this level that differ
  std::deque<v1::HashQuestion> under_way_;
};

}  // namespace understudy::channel
