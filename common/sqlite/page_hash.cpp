#include "common/sqlite/page_hash.hpp"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace understudy::sqlite {

page_hash hash_page(std::uint32_t page_number, std::span<const std::byte> page) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(page.data(), page.size(), page_number);
  return {hash.high64, hash.low64};
}

void page_hash_array::set(std::uint32_t page_number, const page_hash& hash) {
  if (page_number > size()) hashes_.resize(page_number);
  page_hash& slot = hashes_[page_number - 1];
  combined_ ^= slot ^ hash;
  slot = hash;
}

void page_hash_array::resize(std::uint32_t pages) {
  for (std::size_t i = pages; i < hashes_.size(); ++i) combined_ ^= hashes_[i];
  hashes_.resize(pages);
}

page_hash page_hash_array::combined_range(std::uint32_t first, std::uint32_t count) const {
  page_hash result;
  if (first == 0) return result;
  const std::uint64_t end = std::min<std::uint64_t>(std::uint64_t{first} + count, std::uint64_t{size()} + 1);
  for (std::uint64_t page = first; page < end; ++page) result ^= hashes_[page - 1];
  return result;
}

}  // namespace understudy::sqlite
