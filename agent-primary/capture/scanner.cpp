#include "agent-primary/capture/scanner.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace understudy::capture {
namespace {

constexpr std::size_t read_bytes = 256 << 10;  // about 0.1 ms of hashing from the page cache

// Fills `size` bytes from the file; what lies past its end is zeros.
void read_padded(int fd, std::byte* to, std::size_t size, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, to + done, size - done, static_cast<off_t>(offset + done));
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  std::memset(to + done, 0, size - done);
}

}  // namespace

bool scanner::turn(captured_image& image, int database, std::chrono::microseconds slice,
                   std::vector<std::byte>& buffer) {
  const auto stop = std::chrono::steady_clock::now() + slice;
  const std::uint32_t page_size = image.page_size();
  const auto per_read = static_cast<std::uint32_t>(read_bytes / page_size);
  std::vector<sqlite::page_hash> hashes;
  while (next_ <= image.pages()) {
    const std::uint32_t count = std::min(per_read, image.pages() - next_ + 1);
    buffer.resize(std::max<std::size_t>(buffer.size(), std::size_t{count} * page_size));
    read_padded(database, buffer.data(), std::size_t{count} * page_size,
                std::uint64_t{next_ - 1} * page_size);
    hashes.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      hashes.push_back(sqlite::hash_page(next_ + i, {&buffer[std::size_t{i} * page_size], page_size}));
    }
    image.add_scanned(next_, hashes);
    next_ += count;
    if (std::chrono::steady_clock::now() >= stop) break;
  }
  return next_ > image.pages();
}

sqlite::page_hash hash_in_file(int database, std::uint32_t page, std::uint32_t page_size,
                               std::vector<std::byte>& buffer) {
  buffer.resize(std::max<std::size_t>(buffer.size(), page_size));
  read_padded(database, buffer.data(), page_size, std::uint64_t{page - 1} * page_size);
  return sqlite::hash_page(page, {buffer.data(), page_size});
}

}  // namespace understudy::capture
