#include "common/sqlite/page_hash.hpp"

#include <gtest/gtest.h>

#include <array>

namespace understudy::sqlite {
namespace {

page_hash hash_of(std::uint32_t number, int fill) {
  std::array<std::byte, 512> page;
  page.fill(static_cast<std::byte>(fill));
  return hash_page(number, page);
}

TEST(page_hash, equal_pages_at_different_numbers_do_not_cancel) {
  EXPECT_NE(hash_of(1, 7), hash_of(2, 7));
}

TEST(page_hash_array, register_follows_every_change) {
  page_hash_array a;
  page_hash_array b;
  for (std::uint32_t page = 1; page <= 100; ++page) a.set(page, hash_of(page, 1));
  for (std::uint32_t page = 100; page >= 1; --page) b.set(page, hash_of(page, 2));
  EXPECT_FALSE(a.combined() == b.combined());
  for (std::uint32_t page = 1; page <= 100; ++page) b.set(page, hash_of(page, 1));
  EXPECT_EQ(a.combined(), b.combined());
  EXPECT_EQ(a.combined(), a.combined_range(1, 50) ^ a.combined_range(51, 1000));
}

TEST(page_hash_array, shrinking_forgets_the_dropped_pages) {
  page_hash_array a;
  page_hash_array b;
  for (std::uint32_t page = 1; page <= 10; ++page) a.set(page, hash_of(page, 3));
  for (std::uint32_t page = 1; page <= 6; ++page) b.set(page, hash_of(page, 3));
  a.resize(6);
  EXPECT_EQ(a.combined(), b.combined());
}

}  // namespace
}  // namespace understudy::sqlite
