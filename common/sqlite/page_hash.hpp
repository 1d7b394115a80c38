#pragma once

// 128-bit hashes of pages, and the array of them that stands for a database image. The XOR of all of them is
// the register by which two sides state at any time whether their images are equal; not secret, not keyed.
// XXH3-128 of the page, seeded with its number, so that two pages exchanged do not cancel.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace understudy::sqlite {

struct page_hash {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const page_hash&, const page_hash&) = default;
  page_hash& operator^=(const page_hash& other) {
    high ^= other.high;
    low ^= other.low;
    return *this;
  }
  friend page_hash operator^(page_hash a, const page_hash& b) { return a ^= b; }
};

page_hash hash_page(std::uint32_t page_number, std::span<const std::byte> page);

// Hashes of pages 1..size(). A page that was never set (a hole, the lock page) counts as zero.
class page_hash_array {
 public:
  std::uint32_t size() const { return static_cast<std::uint32_t>(hashes_.size()); }
  const page_hash& at(std::uint32_t page_number) const { return hashes_[page_number - 1]; }
  const page_hash& combined() const { return combined_; }
  void set(std::uint32_t page_number, const page_hash& hash);  // grows as needed
  void resize(std::uint32_t pages);                            // drops or adds zero hashes
  void clear() { resize(0); }
  // XOR over [first, first + count), clipped to the array.
  page_hash combined_range(std::uint32_t first, std::uint32_t count) const;

 private:
  std::vector<page_hash> hashes_;
  page_hash combined_;
};

}  // namespace understudy::sqlite
