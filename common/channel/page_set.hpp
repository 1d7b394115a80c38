#pragma once

#include <cstdint>
#include <vector>

namespace understudy::channel {

// A set of page numbers, one bit each, walked in circles in ascending order.
class page_set {
 public:
  bool empty() const { return count_ == 0; }
  std::uint32_t size() const { return count_; }
  bool contains(std::uint32_t page) const { return page < bits_.size() && bits_[page]; }

  void insert(std::uint32_t page) {
    if (page >= bits_.size()) bits_.resize(std::size_t{page} + 1);
    if (bits_[page]) return;
    bits_[page] = true;
    ++count_;
  }
  void erase(std::uint32_t page) {
    if (!contains(page)) return;
    bits_[page] = false;
    --count_;
  }
  void clear() {
    bits_.clear();
    count_ = 0;
    cursor_ = 0;
  }
  // The member after the one returned last, from the lowest again at the end. Requires !empty().
  std::uint32_t next() {
    do {
      cursor_ = cursor_ + 1 < bits_.size() ? cursor_ + 1 : 0;
    } while (!bits_[cursor_]);
    return static_cast<std::uint32_t>(cursor_);
  }

 private:
  std::vector<bool> bits_;
  std::uint32_t count_ = 0;
  std::size_t cursor_ = 0;
};

}  // namespace understudy::channel
