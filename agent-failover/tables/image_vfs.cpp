#include "agent-failover/tables/image_vfs.hpp"

#include <fmt/core.h>
#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

namespace understudy::tables {
namespace {

struct image_file {
  sqlite3_file base;
  overlaid_image* image;
};

overlaid_image& of(sqlite3_file* f) {
  return *reinterpret_cast<image_file*>(f)->image;
}

// The header's file format numbers: that the copy has a log is not SQLite's business here.
constexpr std::size_t formats_at = 18;

bool read_page(overlaid_image& image, std::uint32_t number, std::string& bytes) {
  if (const auto found = image.written.find(number); found != image.written.end()) {
    bytes = found->second;
    return true;
  }
  bytes.assign(image.below->page_size(), '\0');
  if (number > image.below->page_count()) return true;
  const absl::Status read = image.below->read_page(number, std::as_writable_bytes(std::span(bytes)));
  if (!read.ok()) {
    image.trouble = read;
    return false;
  }
  if (number == 1) bytes[formats_at] = bytes[formats_at + 1] = 1;
  return true;
}

int close_file(sqlite3_file*) {
  return SQLITE_OK;
}

// Calls `use` (the page's number, where in it, where in the data, how much) for each page that a piece of the
// file touches.
template <class Use>
int each_page(const overlaid_image& image, std::size_t count, sqlite3_int64 offset, const Use& use) {
  const std::uint64_t size = image.below->page_size();
  for (std::size_t done = 0; done < count;) {
    const std::uint64_t at = static_cast<std::uint64_t>(offset) + done;
    const auto within = static_cast<std::size_t>(at % size);
    const std::size_t piece = std::min(count - done, static_cast<std::size_t>(size) - within);
    const int code = use(static_cast<std::uint32_t>(at / size + 1), within, done, piece);
    if (code != SQLITE_OK) return code;
    done += piece;
  }
  return SQLITE_OK;
}

int read_file(sqlite3_file* f, void* data, int count, sqlite3_int64 offset) {
  overlaid_image& image = of(f);
  const auto wanted = static_cast<std::size_t>(count);
  std::memset(data, 0, wanted);
  const std::uint64_t size = std::uint64_t{image.pages} * image.below->page_size();
  const std::uint64_t there = size - std::min<std::uint64_t>(size, static_cast<std::uint64_t>(offset));
  const std::size_t have = std::min<std::uint64_t>(wanted, there);
  std::string bytes;
  const int code =
      each_page(image, have, offset,
                [&](std::uint32_t page, std::size_t within, std::size_t done, std::size_t piece) -> int {
                  if (!read_page(image, page, bytes)) return SQLITE_IOERR_READ;
                  std::memcpy(static_cast<char*>(data) + done, bytes.data() + within, piece);
                  return SQLITE_OK;
                });
  if (code != SQLITE_OK) return code;
  return have == wanted ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* f, const void* data, int count, sqlite3_int64 offset) {
  overlaid_image& image = of(f);
  std::string bytes;
  return each_page(image, static_cast<std::size_t>(count), offset,
                   [&](std::uint32_t page, std::size_t within, std::size_t done, std::size_t piece) -> int {
                     if (!read_page(image, page, bytes)) return SQLITE_IOERR_READ;
                     std::memcpy(bytes.data() + within, static_cast<const char*>(data) + done, piece);
                     if (image.written.size() >= image.most_written && !image.written.contains(page))
                       return SQLITE_FULL;
                     image.written[page] = bytes;
                     image.pages = std::max(image.pages, page);
                     return SQLITE_OK;
                   });
}

int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  overlaid_image& image = of(f);
  image.pages = static_cast<std::uint32_t>(static_cast<std::uint64_t>(size) / image.below->page_size());
  image.written.erase(image.written.upper_bound(image.pages), image.written.end());
  return SQLITE_OK;
}

int file_size(sqlite3_file* f, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(std::uint64_t{of(f).pages} * of(f).below->page_size());
  return SQLITE_OK;
}

int nothing_to_sync(sqlite3_file*, int) {
  return SQLITE_OK;
}
int no_locks(sqlite3_file*, int) {
  return SQLITE_OK;
}
int not_reserved(sqlite3_file*, int* reserved) {
  *reserved = 0;
  return SQLITE_OK;
}
int control_file(sqlite3_file*, int, void*) {
  return SQLITE_NOTFOUND;
}
int sector_size(sqlite3_file*) {
  return 512;
}
int characteristics(sqlite3_file*) {
  return 0;
}

constexpr sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = nothing_to_sync,
    .xFileSize = file_size,
    .xLock = no_locks,
    .xUnlock = no_locks,
    .xCheckReservedLock = not_reserved,
    .xFileControl = control_file,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
    .xShmMap = nullptr,
    .xShmLock = nullptr,
    .xShmBarrier = nullptr,
    .xShmUnmap = nullptr,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

int open_file(sqlite3_vfs* v, const char* name, sqlite3_file* f, int flags, int* flags_out) {
  if (name == nullptr) {
    sqlite3_vfs* const real = sqlite3_vfs_find(nullptr);
    return real->xOpen(real, nullptr, f, flags, flags_out);
  }
  f->pMethods = nullptr;
  overlaid_image* const image = static_cast<image_vfs*>(v->pAppData)->find(name);
  if (image == nullptr || (flags & SQLITE_OPEN_MAIN_DB) == 0) return SQLITE_CANTOPEN;
  reinterpret_cast<image_file*>(f)->image = image;
  if (flags_out != nullptr) *flags_out = flags;
  f->pMethods = &methods;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs*, const char*, int) {
  return SQLITE_OK;
}
int access_file(sqlite3_vfs*, const char*, int, int* result) {
  *result = 0;  // no journal, no log
  return SQLITE_OK;
}
int full_path(sqlite3_vfs*, const char* name, int size, char* result) {
  if (std::strlen(name) >= static_cast<std::size_t>(size)) return SQLITE_CANTOPEN;
  std::strcpy(result, name);
  return SQLITE_OK;
}

std::string unique_name() {
  static std::atomic<std::uint64_t> made{0};
  return fmt::format("understudy-images-{}", ++made);
}

}  // namespace

image_vfs::image_vfs() : name_(unique_name()) {
  sqlite3_vfs* const real = sqlite3_vfs_find(nullptr);
  vfs_ = std::make_unique<sqlite3_vfs>(*real);
  vfs_->iVersion = 2;
  vfs_->szOsFile = std::max(static_cast<int>(sizeof(image_file)), real->szOsFile);
  vfs_->pNext = nullptr;
  vfs_->zName = name_.c_str();
  vfs_->pAppData = this;
  vfs_->xOpen = open_file;
  vfs_->xDelete = delete_file;
  vfs_->xAccess = access_file;
  vfs_->xFullPathname = full_path;
  sqlite3_vfs_register(vfs_.get(), 0);
}

image_vfs::~image_vfs() {
  sqlite3_vfs_unregister(vfs_.get());
}

overlaid_image& image_vfs::add(const std::string& database, rows::page_source& below) {
  return images_[database] = {.below = &below, .pages = below.page_count()};
}

overlaid_image* image_vfs::find(const std::string& database) {
  const auto found = images_.find(database);
  return found == images_.end() ? nullptr : &found->second;
}

}  // namespace understudy::tables
