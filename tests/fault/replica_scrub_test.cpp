// Damage to the files of a copy behind its back: all of it is found in one pass, owned up to, and repaired by
// a heal from the source.

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include "agent-failover/replica/database_copy.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;

class scrub : public testing::Test {
 protected:
  void SetUp() override {
    auto opened =
        database_copy::open(os::posix_file_system().open_root(place_.path()).value(), "copy.db", {});
    ASSERT_TRUE(opened.ok());
    copy_ = *std::move(opened);
    ASSERT_TRUE(test::heal(*copy_, h_, 0, heal_way::new_file).ok());
    ASSERT_TRUE(copy_->commit_durably().ok());
    apply_to(20);
  }
  void apply_to(std::size_t last) {
    while (state_ < last) ASSERT_TRUE(test::apply(*copy_, h_, ++state_).ok());
    ASSERT_TRUE(copy_->commit_durably().ok());
  }
  std::vector<std::uint32_t> whole() {
    auto found = copy_->scrub(1, UINT32_MAX);
    EXPECT_TRUE(found.ok()) << message_of(found.status());
    return found.ok() ? *found : std::vector<std::uint32_t>{};
  }
  // Turns bits of one byte over.
  void damage(const char* suffix, std::uint64_t at) {
    const os::unique_fd fd(::open((place_.path() + "/copy.db" + suffix).c_str(), O_RDWR | O_CLOEXEC));
    char byte = 0;
    ASSERT_EQ(::pread(fd.value(), &byte, 1, static_cast<off_t>(at)), 1);
    byte = static_cast<char>(byte ^ static_cast<char>(1 + random_() % 255));
    ASSERT_EQ(::pwrite(fd.value(), &byte, 1, static_cast<off_t>(at)), 1);
  }
  // As a stream does: compares the hashes, brings what differs.
  void repair() {
    const absl::Status healed = test::heal(*copy_, h_, state_, heal_way::in_place);
    ASSERT_TRUE(healed.ok()) << message_of(healed);
    ASSERT_TRUE(copy_->commit_durably().ok());
    EXPECT_EQ(copy_->state().combined, h_.registers[state_]);
    EXPECT_TRUE(whole().empty());
    const test::finding f = test::inspect(place_.path() + "/copy.db", h_);
    EXPECT_EQ(f.error, "");
    EXPECT_EQ(f.marker, static_cast<std::int64_t>(state_));
  }

  const test::temporary_directory place_{test::where::disk};
  const test::history h_ = test::make_history({.transactions = 40});
  std::unique_ptr<database_copy> copy_;
  std::size_t state_ = 0;
  std::mt19937_64 random_{20261122};
};

TEST_F(scrub, finds_nothing_where_nothing_is_wrong) {
  EXPECT_TRUE(whole().empty());
  ASSERT_TRUE(copy_->fold().ok());
  EXPECT_TRUE(whole().empty());
}

TEST_F(scrub, random_bytes_of_the_database_file_all_found_and_repaired) {
  ASSERT_TRUE(copy_->fold().ok());
  const int rounds = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 200 : 20;
  int flips = 0;
  for (int round = 0; round < rounds; ++round) {
    std::set<std::uint32_t> damaged;
    for (int n = 0; n < 50; ++n) {
      const std::uint64_t at = random_() % (std::uint64_t{copy_->state().database_pages} * h_.page_size);
      const auto page = static_cast<std::uint32_t>(at / h_.page_size + 1);
      if (!damaged.insert(page).second) continue;  // twice in one page might undo itself
      damage("", at);
      ++flips;
    }
    const std::vector<std::uint32_t> found = whole();
    ASSERT_EQ(std::set<std::uint32_t>(found.begin(), found.end()), damaged);
    // In the order in which pages come from the disk, a slice at a time, it is the same.
    std::vector<std::uint32_t> sliced;
    for (std::uint32_t first = 1; first <= copy_->state().database_pages; first += 7) {
      const auto slice = copy_->scrub(first, 7);
      ASSERT_TRUE(slice.ok());
      sliced.insert(sliced.end(), slice->begin(), slice->end());
    }
    ASSERT_EQ(sliced, found);
    ASSERT_TRUE(copy_->disown(found).ok());
    EXPECT_NE(copy_->state().combined, h_.registers[state_]);
    ASSERT_NO_FATAL_FAILURE(repair());
    ASSERT_TRUE(copy_->fold().ok());
  }
  RecordProperty("flips", flips);
}

// A damaged frame hides all that follow, from readers and from what is appended afterwards.
TEST_F(scrub, random_bytes_of_the_log_all_found_and_repaired) {
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t used = copy_->figures().wal_bytes;
    ASSERT_GT(used, 4096u);
    damage("-wal",
           8 + random_() % (used - 8));  // but the magic and version, which a reader of the header checks
    const std::vector<std::uint32_t> found = whole();
    ASSERT_FALSE(found.empty()) << round;
    ASSERT_TRUE(copy_->disown(found).ok());
    ASSERT_NO_FATAL_FAILURE(repair());
    if (state_ + 1 < h_.size()) apply_to(state_ + 1);
  }
}

TEST_F(scrub, waits_for_the_sync_of_what_ended) {
  ASSERT_TRUE(test::apply(*copy_, h_, ++state_).ok());
  EXPECT_TRUE(absl::IsUnavailable(copy_->scrub(1, 10).status()));
  ASSERT_TRUE(copy_->commit_durably().ok());
  EXPECT_TRUE(copy_->scrub(1, 10).ok());
}

}  // namespace
}  // namespace understudy
