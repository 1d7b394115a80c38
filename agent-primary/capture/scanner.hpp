#pragma once

// Hashes a database file from its first to its last page, in slices, while others write it.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
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

// Calls `visit` for the pages from `next` on, up to `last`, for about `slice`; `next` then is the page after
// the last one visited.
void scan_pages(int database, std::uint32_t page_size, std::uint32_t& next, std::uint32_t last,
                std::chrono::microseconds slice, std::vector<std::byte>& buffer,
                const std::function<void(std::uint32_t page, const sqlite::page_hash& hash,
                                         std::span<const std::byte> bytes)>& visit);

// The database's size in pages, by its header where that is valid, else by the file's size.
std::uint32_t database_pages(const sqlite::database_header& header, std::uint64_t file_bytes);

// The hash of one page of the file as it is now; past its end, of zeros.
sqlite::page_hash hash_in_file(int database, std::uint32_t page, std::uint32_t page_size,
                               std::vector<std::byte>& buffer);

}  // namespace understudy::capture
