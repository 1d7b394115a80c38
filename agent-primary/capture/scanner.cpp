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

void scan_pages(int database, std::uint32_t page_size, std::uint32_t& next, std::uint32_t last,
                std::chrono::microseconds slice, std::vector<std::byte>& buffer,
                const std::function<void(std::uint32_t page, const sqlite::page_hash& hash,
                                         std::span<const std::byte> bytes)>& visit) {
  const auto stop = std::chrono::steady_clock::now() + slice;
  const auto per_read = static_cast<std::uint32_t>(read_bytes / page_size);
  while (next <= last) {
    const std::uint32_t count = std::min(per_read, last - next + 1);
    buffer.resize(std::max<std::size_t>(buffer.size(), std::size_t{count} * page_size));
    read_padded(database, buffer.data(), std::size_t{count} * page_size, std::uint64_t{next - 1} * page_size);
    for (std::uint32_t i = 0; i < count; ++i, ++next) {
      const std::span<const std::byte> bytes(&buffer[std::size_t{i} * page_size], page_size);
      visit(next, sqlite::hash_page(next, bytes), bytes);
    }
    if (std::chrono::steady_clock::now() >= stop) break;
  }
}

std::uint32_t database_pages(const sqlite::database_header& header, std::uint64_t file_bytes) {
  const auto in_file = static_cast<std::uint32_t>((file_bytes + header.page_size - 1) / header.page_size);
  const bool valid = header.change_counter == header.version_valid_for && header.pages > 0;
  return valid ? std::min(header.pages, in_file) : in_file;
}

bool scanner::turn(captured_image& image, int database, std::chrono::microseconds slice,
                   std::vector<std::byte>& buffer) {
  const std::uint32_t first = next_;
  std::vector<sqlite::page_hash> hashes;
  scan_pages(database, image.page_size(), next_, image.pages(), slice, buffer,
             [&](std::uint32_t, const sqlite::page_hash& hash, std::span<const std::byte>) {
               hashes.push_back(hash);
             });
  if (!hashes.empty()) image.add_scanned(first, hashes);
  return next_ > image.pages();
}

sqlite::page_hash hash_in_file(int database, std::uint32_t page, std::uint32_t page_size,
                               std::vector<std::byte>& buffer) {
  buffer.resize(std::max<std::size_t>(buffer.size(), page_size));
  read_padded(database, buffer.data(), page_size, std::uint64_t{page - 1} * page_size);
  return sqlite::hash_page(page, {buffer.data(), page_size});
}

}  // namespace understudy::capture
