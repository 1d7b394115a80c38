#pragma once

// Hashes a database file from its first to its last page, in slices, while others write it.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "agent-primary/capture/captured_image.hpp"

namespace understudy::capture {

class scanner {
 public:
  void begin() { next_ = 1; }
  // Hashes for about `slice`. True when the image's last page is behind.
  bool turn(captured_image& image, int database, std::chrono::microseconds slice,
            std::vector<std::byte>& buffer);

 private:
  std::uint32_t next_ = 1;
};

// The hash of one page of the file as it is now; past its end, of zeros.
sqlite::page_hash hash_in_file(int database, std::uint32_t page, std::uint32_t page_size,
                               std::vector<std::byte>& buffer);

}  // namespace understudy::capture
