// What a peer that lies announces: refused before it costs memory, and the copy stays what it was.

#include <gtest/gtest.h>

#include <limits>

#include "agent-failover/replica/database_copy.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;

constexpr std::uint32_t most_pages = 4294967294;  // SQLite's own limit; their hashes take 64 GiB

class replica_hostile : public ::testing::Test {
 protected:
  replica_hostile() {
    open();
    EXPECT_TRUE(test::heal(*copy_, history_, 0, heal_way::new_file).ok());
    EXPECT_TRUE(copy_->commit_durably().ok());
  }
  void open() {
    copy_.reset();
    auto opened = database_copy::open(os::posix_file_system().open_root(place_.path()).value(), "copy.db");
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    copy_ = *std::move(opened);
  }
  std::uint32_t page_size() const { return history_.page_size; }
  // `claimed` pages with the hash that is true of what came, as only a liar who thinks would say.
  absl::Status claim(heal_way way, std::uint32_t claimed, const sqlite::page_hash& hash) {
    if (const absl::Status begun = copy_->begin_heal(way, page_size()); !begun.ok()) return begun;
    return copy_->end_heal(claimed, hash);
  }
  // What the copy showed, it shows, and it goes on.
  void expect_unharmed() {
    copy_->abandon();
    EXPECT_EQ(copy_->state().combined, history_.registers[0]);
    EXPECT_TRUE(test::apply(*copy_, history_, 1).ok());
    EXPECT_TRUE(copy_->commit_durably().ok());
    const test::finding found = test::inspect(place_.path() + "/copy.db", history_);
    EXPECT_EQ(found.error, "");
    EXPECT_EQ(found.marker, 1);
  }

  const test::history history_ = test::make_history({.transactions = 2});
  const test::temporary_directory place_;
  std::unique_ptr<database_copy> copy_;
};

TEST_F(replica_hostile, a_heal_without_pages_makes_no_database_of_sixteen_terabytes) {
  const std::uint32_t present = copy_->state().database_pages;
  for (const heal_way way : {heal_way::new_file, heal_way::in_place}) {
    for (const std::uint32_t claimed : {most_pages, std::numeric_limits<std::uint32_t>::max(), present + 2}) {
      EXPECT_TRUE(absl::IsInvalidArgument(claim(way, claimed, history_.registers[0]))) << claimed;
      EXPECT_EQ(copy_->state().database_pages, present);
    }
  }
  expect_unharmed();
}

TEST_F(replica_hostile, a_first_copy_without_pages_is_refused) {
  const test::temporary_directory place;
  const auto copy = database_copy::open(os::posix_file_system().open_root(place.path()).value(), "copy.db");
  ASSERT_TRUE(copy.ok());
  ASSERT_TRUE((*copy)->begin_heal(heal_way::new_file, page_size()).ok());
  EXPECT_TRUE(absl::IsInvalidArgument((*copy)->end_heal(most_pages, {})));
  EXPECT_FALSE((*copy)->state().exists);
}

TEST_F(replica_hostile, a_transaction_without_pages_does_not_grow_the_database) {
  const channel::transaction_header header{.number = 1,
                                           .page_size = page_size(),
                                           .database_pages = most_pages,
                                           .hash_before = history_.registers[0],
                                           .hash_after = history_.registers[0]};
  EXPECT_TRUE(absl::IsInvalidArgument(copy_->end_transaction(header)));
  expect_unharmed();
}

TEST_F(replica_hostile, a_page_terabytes_away_is_refused_within_a_new_file) {
  ASSERT_TRUE(copy_->begin_heal(heal_way::new_file, page_size()).ok());
  const channel::page_image page{.number = most_pages, .bytes = std::string(page_size(), 'x')};
  EXPECT_TRUE(absl::IsInvalidArgument(copy_->add_pages(page_size(), {&page, 1})));
  expect_unharmed();
}

TEST_F(replica_hostile, a_header_that_claims_more_than_the_file_has_is_not_believed) {
  std::string first = history_.start[0];
  for (const std::size_t at : {24u, 92u}) first.replace(at, 4, std::string_view("\0\0\0\1", 4));
  first.replace(28, 4, std::string_view("\xff\xff\xff\xfe", 4));  // pages
  const channel::page_image page{.number = 1, .bytes = first};
  ASSERT_TRUE(copy_->begin_heal(heal_way::new_file, page_size()).ok());
  ASSERT_TRUE(copy_->add_pages(page_size(), {&page, 1}).ok());
  ASSERT_TRUE(copy_->end_heal(1, sqlite::hash_page(1, std::as_bytes(std::span(first)))).ok());
  ASSERT_TRUE(copy_->commit_durably().ok());
  open();
  EXPECT_EQ(copy_->state().database_pages, 1u);
}

}  // namespace
}  // namespace understudy
