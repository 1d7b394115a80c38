// What comparing and healing 1 GiB costs on the wire: the project's goals, with pages that are made up on
// demand.

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "common/channel/sink_session.hpp"
#include "common/channel/source_session.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::channel {
namespace {

constexpr std::uint32_t PAGE = 4096;
constexpr std::uint32_t PAGES = 262144;

std::string page_of(std::uint32_t number, std::uint64_t version) {
  std::string bytes(PAGE, '\0');
  std::mt19937_64 random{number * 1000003ull + version};
  for (std::size_t at = 0; at < PAGE; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[at], &word, sizeof word);
  }
  return bytes;
}

sqlite::page_hash hash_of(std::uint32_t number, const std::string& bytes) {
  return sqlite::hash_page(number, std::as_bytes(std::span{bytes}));
}

std::vector<sqlite::page_hash> blocks(const sqlite::page_hash_array& hashes, std::uint32_t first,
                                      std::uint32_t block, std::uint32_t count) {
  std::vector<sqlite::page_hash> result;
  for (std::uint64_t i = 0, page = first; i < count && page <= hashes.size(); ++i, page += block) {
    result.push_back(hashes.combined_range(static_cast<std::uint32_t>(page), block));
  }
  return result;
}

class synthetic_source final : public database_source {
 public:
  explicit synthetic_source(sqlite::page_hash_array hashes) : hashes_{std::move(hashes)} {}
  void change(std::uint32_t page) { hashes_.set(page, hash_of(page, page_of(page, 1))); }

  source_state state() const override {
    return {.now = source_state::phase::ready,
            .reason = {},
            .scanned_bytes = 0,
            .total_bytes = 0,
            .page_size = PAGE,
            .database_pages = hashes_.size(),
            .combined = hashes_.combined(),
            .number = 1};
  }
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override {
    return blocks(hashes_, first, 1, count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block,
                                              std::uint32_t count) const override {
    return blocks(hashes_, first, block, count);
  }
  absl::StatusOr<page_image> read_page(std::uint32_t number) const override {
    return page_image{number, page_of(number, 1)};
  }
  absl::StatusOr<std::unique_ptr<source_subscription>> subscribe() override {
    class quiet final : public source_subscription {
     public:
      explicit quiet(source_state base) : base_{std::move(base)} {}
      const source_state& base() const override { return base_; }
      source_event next(std::chrono::steady_clock::time_point) override { return {}; }
      void set_ready_callback(std::function<void()>) override {}

     private:
      source_state base_;
    };
    return std::make_unique<quiet>(state());
  }

 private:
  sqlite::page_hash_array hashes_;
};

class hash_sink final : public database_sink {
 public:
  explicit hash_sink(sqlite::page_hash_array hashes) : hashes_{std::move(hashes)} {}
  std::uint64_t page_bytes = 0;
  heal_way way = heal_way::new_file;

  sink_state state() const override { return {true, PAGE, hashes_.size(), hashes_.combined()}; }
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override {
    return blocks(hashes_, first, 1, count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block,
                                              std::uint32_t count) const override {
    return blocks(hashes_, first, block, count);
  }
  absl::Status add_pages(std::uint32_t, std::span<const page_image> pages) override {
    for (const page_image& page : pages) {
      hashes_.set(page.number, hash_of(page.number, page.bytes));
      page_bytes += page.bytes.size();
    }
    return absl::OkStatus();
  }
  absl::Status end_transaction(const transaction_header&) override { return absl::OkStatus(); }
  absl::Status commit_durably() override { return absl::OkStatus(); }
  absl::Status begin_heal(heal_way chosen, std::uint32_t) override {
    way = chosen;
    return absl::OkStatus();
  }
  absl::Status end_heal(std::uint32_t, const sqlite::page_hash& after) override {
    return hashes_.combined() == after ? absl::OkStatus() : absl::DataLossError("another image");
  }
  void abandon() override {}

 private:
  sqlite::page_hash_array hashes_;
};

// Bytes that both ends sent until they stream.
std::uint64_t converge(synthetic_source& source, hash_sink& sink) {
  source_session sender{source};
  sink_session receiver{sink};
  moment now{};
  EXPECT_TRUE(receiver.start(now).ok());
  std::uint64_t bytes = 0;
  for (int i = 0; i < 20000 && receiver.progress().now != database_progress::phase::streaming; ++i) {
    now.steady += std::chrono::milliseconds{1};
    while (auto up = receiver.next()) {
      bytes += up->ByteSizeLong();
      EXPECT_TRUE(sender.receive(*up, now).ok());
    }
    const auto down = sender.next(now);
    EXPECT_TRUE(down.ok());
    if (!*down) continue;
    bytes += (*down)->ByteSizeLong();
    EXPECT_TRUE(receiver.receive(**down, now).ok());
  }
  EXPECT_EQ(receiver.progress().now, database_progress::phase::streaming);
  EXPECT_EQ(sink.state().combined, source.state().combined);
  return bytes;
}

TEST(channel_traffic, one_gigabyte_identical_and_with_one_percent_changed) {
  sqlite::page_hash_array hashes;
  for (std::uint32_t page = 1; page <= PAGES; ++page) {
    // Hashes of pages that nobody reads need no pages: only changed ones are made.
    hashes.set(page, {page * 0x9e3779b97f4a7c15ull, (page ^ 0x5555) * 0xc2b2ae3d27d4eb4full});
  }
  synthetic_source source{hashes};
  hash_sink equal{hashes};
  const std::uint64_t identical = converge(source, equal);
  EXPECT_LE(identical, 50'000u);

  std::mt19937 random{7};
  std::uint64_t changed = 0;
  for (; changed < PAGES / 100; ++changed) source.change(random() % PAGES + 1);
  hash_sink behind{hashes};
  const std::uint64_t total = converge(source, behind);
  EXPECT_EQ(behind.way, heal_way::new_file) << "what is more than 4 MiB is kept over a cut";
  EXPECT_LE(total, static_cast<std::uint64_t>(1.05 * static_cast<double>(behind.page_bytes)) + 500'000u);
  std::printf(
      "identical: %llu bytes; 1 %% changed (%llu bytes of pages): %llu bytes, %llu of them not pages\n",
      static_cast<unsigned long long>(identical), static_cast<unsigned long long>(behind.page_bytes),
      static_cast<unsigned long long>(total), static_cast<unsigned long long>(total - behind.page_bytes));
}

}  // namespace
}  // namespace understudy::channel
