#include "common/channel/image_comparison.hpp"

#include <algorithm>

#include "common/channel/wire.hpp"

namespace understudy::channel {

image_comparison::image_comparison(const database_source& source, std::uint32_t source_pages,
                                   std::uint32_t sink_pages, page_set& differing)
    : source_{source}, differing_{differing}, pages_{std::min(source_pages, sink_pages)} {
  for (std::uint64_t page = std::uint64_t{pages_} + 1; page <= source_pages; ++page) {
    differing_.insert(static_cast<std::uint32_t>(page));
  }
  for (std::uint64_t page = 1; page <= pages_; page += BLOCKS[0]) {
    to_ask_.push_back(static_cast<std::uint32_t>(page));
  }
  if (to_ask_.empty()) level_ = LEVELS;
}

std::optional<v1::HashQuestion> image_comparison::next_question() {
  if (done() || under_way_.size() == UNDER_WAY || asked_ == to_ask_.size()) return std::nullopt;
  v1::HashQuestion question;
  question.set_block_pages(BLOCKS[level_]);
  question.set_blocks_each(blocks_each_);
  const std::size_t end = std::min(to_ask_.size(), asked_ + QUESTION_HASHES / blocks_each_);
  while (asked_ < end) question.add_first_pages(to_ask_[asked_++]);
  under_way_.push_back(question);
  return question;
}

absl::Status image_comparison::receive(const v1::HashAnswer& answer) {
  if (under_way_.empty()) return absl::InvalidArgumentError("an answer to a question that was not asked");
  const v1::HashQuestion question = std::move(under_way_.front());
  under_way_.pop_front();
  const std::uint32_t block = question.block_pages();
  const std::size_t count = static_cast<std::size_t>(question.first_pages_size()) * blocks_each_;
  if (answer.block_pages() != block || answer.hashes().size() != count * HASH_BYTES) {
    return absl::InvalidArgumentError("an answer that does not fit its question");
  }
  std::size_t index = 0;
  for (const std::uint32_t first : question.first_pages()) {
    const auto mine =
        block == 1 ? source_.hashes(first, blocks_each_) : source_.block_hashes(first, block, blocks_each_);
    for (std::uint32_t i = 0; i < blocks_each_; ++i, ++index) {
      const std::uint64_t page = std::uint64_t{first} + std::uint64_t{i} * block;
      if (page > pages_) continue;
      const std::uint64_t low = i < mine.size() ? mine[i].low : 0;
      if (low != hash_at(answer.hashes(), index)) found_.push_back(static_cast<std::uint32_t>(page));
    }
  }
  if (under_way_.empty() && asked_ == to_ask_.size()) finish_level();
  return absl::OkStatus();
}

void image_comparison::finish_level() {
  ++level_;
  if (level_ == LEVELS || found_.empty()) {
    level_ = LEVELS;
    for (const std::uint32_t page : found_) differing_.insert(page);
    return;
  }
  blocks_each_ = BLOCKS[level_ - 1] / BLOCKS[level_];
  to_ask_ = std::move(found_);
  found_.clear();
  asked_ = 0;
}

}  // namespace understudy::channel
