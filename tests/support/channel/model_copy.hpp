#pragma once

// A copy that exists only in memory and checks that its user keeps database_sink's contract.

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/channel/database_sink.hpp"
#include "tests/support/channel/model_database.hpp"

namespace understudy::test {

class model_copy : public channel::database_sink {
 public:
  struct content {
    bool exists = false;
    std::uint32_t page_size = 0;
    image pages;
    sqlite::page_hash_array hashes;
  };
  // What readers see, and what a power cut leaves.
  const content& durable() const { return durable_; }
  void crash() {
    ended_ = durable_;
    abandon();
  }
  // A page changes behind everyone's back; the register knows, as after a scrub.
  void corrupt(std::uint32_t page) {
    if (page == 0 || page > durable_.pages.size()) return;
    for (content* each : {&durable_, &ended_}) {
      if (page > each->pages.size()) continue;
      each->pages[page - 1][7] ^= 1;
      each->hashes.set(page, hash_of(page, each->pages[page - 1]));
    }
  }
  std::uint64_t heals = 0;
  std::uint64_t refused = 0;  // transactions and heals that did not fit
  std::uint64_t changes = 0;  // of durable()

  channel::sink_state state() const override {
    return {.exists = ended_.exists,
            .page_size = ended_.page_size,
            .database_pages = static_cast<std::uint32_t>(ended_.pages.size()),
            .combined = ended_.hashes.combined()};
  }
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override {
    return block_hashes(first, 1, count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block,
                                              std::uint32_t count) const override {
    if (first == 0) throw std::logic_error("hashes from page 0");
    std::vector<sqlite::page_hash> result;
    for (std::uint64_t i = 0, page = first; i < count && page <= ended_.hashes.size(); ++i, page += block) {
      result.push_back(ended_.hashes.combined_range(static_cast<std::uint32_t>(page), block));
    }
    return result;
  }

  absl::Status add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) override {
    if (heal_ && page_size != heal_page_size_) throw std::logic_error("page size of a heal changed");
    for (const auto& page : pages) {
      if (page.number == 0 || page.bytes.size() != page_size)
        throw std::logic_error("a page of the wrong size");
      pending_.push_back(page);
    }
    return absl::OkStatus();
  }
  absl::Status end_transaction(const channel::transaction_header& header) override {
    if (heal_) throw std::logic_error("a transaction ends inside a heal");
    if (!(header.hash_before == ended_.hashes.combined())) {
      ++refused;
      return absl::FailedPreconditionError("builds on another image");
    }
    return end(ended_, header.page_size, header.database_pages, header.hash_after);
  }
  absl::Status commit_durably() override {
    durable_ = ended_;
    ++changes;
    return absl::OkStatus();
  }
  absl::Status begin_heal(channel::heal_way way, std::uint32_t page_size) override {
    if (heal_ || !pending_.empty()) throw std::logic_error("a heal begins inside something else");
    if (way == channel::heal_way::in_place && (!ended_.exists || ended_.page_size != page_size)) {
      throw std::logic_error("nothing to heal in place");
    }
    heal_ = way;
    heal_page_size_ = page_size;
    return absl::OkStatus();
  }
  absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) override {
    if (!heal_) throw std::logic_error("a heal ends that did not begin");
    heal_.reset();
    ++heals;
    content base = ended_;
    if (base.page_size != heal_page_size_) base = {};
    return end(std::move(base), heal_page_size_, database_pages, hash_after);
  }
  void abandon() override {
    pending_.clear();
    heal_.reset();
  }

 private:
  absl::Status end(content next, std::uint32_t page_size, std::uint32_t pages,
                   const sqlite::page_hash& hash_after) {
    if (pages > 100000) {
      pending_.clear();
      return absl::DataLossError("more pages than arrived");
    }
    next.exists = true;
    next.page_size = page_size;
    next.pages.resize(pages);
    next.hashes.resize(pages);
    for (const auto& page : pending_) {
      if (page.number > pages) continue;
      next.pages[page.number - 1] = page.bytes;
      next.hashes.set(page.number, hash_of(page.number, page.bytes));
    }
    pending_.clear();
    if (!(next.hashes.combined() == hash_after)) {
      ++refused;
      return absl::DataLossError("arrived at another image");
    }
    ended_ = std::move(next);
    return absl::OkStatus();
  }

  content durable_;
  content ended_;
  std::vector<channel::page_image> pending_;
  std::optional<channel::heal_way> heal_;
  std::uint32_t heal_page_size_ = 0;
};

}  // namespace understudy::test
