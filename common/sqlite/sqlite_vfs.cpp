#include "common/sqlite/sqlite_vfs.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "common/os/byte_lock.hpp"
#include "common/os/relative_path.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::sqlite {
namespace {

// SQLite allocates szOsFile bytes for this and never runs a constructor; `opened` points to what needs one.
struct opened_file {
  std::unique_ptr<os::file> file;
  os::directory* directory = nullptr;
  std::string name;
  bool directory_unsynced = false;  // the file was created: its entry is synced with its first sync
  bool delete_on_close = false;
  int lock = SQLITE_LOCK_NONE;
};
struct vfs_file {
  sqlite3_file base;
  opened_file* opened;
};

opened_file& of(sqlite3_file* f) {
  return *reinterpret_cast<vfs_file*>(f)->opened;
}
sqlite3_vfs* real_of(sqlite3_vfs*) {
  return sqlite3_vfs_find(nullptr);
}
os::directory& directory_of(sqlite3_vfs* v) {
  return *static_cast<os::directory*>(v->pAppData);
}

int full_or(const absl::Status& status, int otherwise) {
  if (status.ok()) return SQLITE_OK;
  return absl::IsResourceExhausted(status) ? SQLITE_FULL : otherwise;
}

absl::Status remove_if_there(os::directory& d, const std::string& name) {
  const absl::Status removed = d.remove_file(name);
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

int close_file(sqlite3_file* f) {
  const std::unique_ptr<opened_file> opened(reinterpret_cast<vfs_file*>(f)->opened);
  if (opened->delete_on_close) (void)remove_if_there(*opened->directory, opened->name);
  return SQLITE_OK;
}

int read_file(sqlite3_file* f, void* data, int count, sqlite3_int64 offset) {
  const std::span buffer(static_cast<std::byte*>(data), static_cast<std::size_t>(count));
  const auto n = of(f).file->read_at(buffer, static_cast<std::uint64_t>(offset));
  if (!n.ok()) return SQLITE_IOERR_READ;
  if (*n == buffer.size()) return SQLITE_OK;
  std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(*n), buffer.end(), std::byte{0});
  return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* f, const void* data, int count, sqlite3_int64 offset) {
  const std::span bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(count));
  return full_or(of(f).file->write_at(bytes, static_cast<std::uint64_t>(offset)), SQLITE_IOERR_WRITE);
}

int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  return of(f).file->truncate(static_cast<std::uint64_t>(size)).ok() ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

int sync_file(sqlite3_file* f, int) {
  opened_file& o = of(f);
  if (const absl::Status synced = o.file->sync_data(); !synced.ok())
    return full_or(synced, SQLITE_IOERR_FSYNC);
  if (o.directory_unsynced) {
    if (!o.directory->sync().ok()) return SQLITE_IOERR_DIR_FSYNC;
    o.directory_unsynced = false;
  }
  return SQLITE_OK;
}

int file_size(sqlite3_file* f, sqlite3_int64* size) {
  const auto s = of(f).file->status();
  if (!s.ok()) return SQLITE_IOERR_FSTAT;
  *size = s->st_size;
  return SQLITE_OK;
}

// The same bytes as SQLite's unix VFS, so that a stock sqlite3 that looks at the file is kept out correctly.
int lock_file(sqlite3_file* f, int wanted) {
  opened_file& o = of(f);
  if (o.lock >= wanted) return SQLITE_OK;
  const int fd = o.file->descriptor();
  const auto take = [&](os::lock_mode mode, std::int64_t first, std::int64_t count) {
    const auto locked = os::try_lock(fd, mode, first, count);
    return !locked.ok() ? SQLITE_IOERR_LOCK : *locked ? SQLITE_OK : SQLITE_BUSY;
  };
  int code = SQLITE_OK;
  switch (wanted) {
    case SQLITE_LOCK_SHARED:
      code = take(os::lock_mode::shared, db_pending_byte, 1);
      if (code != SQLITE_OK) return code;
      code = take(os::lock_mode::shared, db_shared_first, db_shared_size);
      (void)os::try_lock(fd, os::lock_mode::none, db_pending_byte);
      break;
    case SQLITE_LOCK_RESERVED:
      code = take(os::lock_mode::exclusive, db_reserved_byte, 1);
      break;
    case SQLITE_LOCK_EXCLUSIVE:
      code = take(os::lock_mode::exclusive, db_pending_byte, 1);
      if (code != SQLITE_OK) return code;
      o.lock = SQLITE_LOCK_PENDING;
      code = take(os::lock_mode::exclusive, db_shared_first, db_shared_size);
      break;
    default:
      break;
  }
  if (code == SQLITE_OK) o.lock = wanted;
  return code;
}

int unlock_file(sqlite3_file* f, int wanted) {
  opened_file& o = of(f);
  if (o.lock <= wanted) return SQLITE_OK;
  const int fd = o.file->descriptor();
  const auto mode = wanted == SQLITE_LOCK_SHARED ? os::lock_mode::shared : os::lock_mode::none;
  if (!os::try_lock(fd, mode, db_shared_first, db_shared_size).ok()) return SQLITE_IOERR_UNLOCK;
  if (!os::try_lock(fd, os::lock_mode::none, db_pending_byte, 2).ok()) return SQLITE_IOERR_UNLOCK;
  o.lock = wanted;
  return SQLITE_OK;
}

int check_reserved(sqlite3_file* f, int* reserved) {
  opened_file& o = of(f);
  *reserved =
      o.lock >= SQLITE_LOCK_RESERVED || !os::lock_holder(o.file->descriptor(), db_reserved_byte).empty();
  return SQLITE_OK;
}

int control_file(sqlite3_file*, int, void*) {
  return SQLITE_NOTFOUND;
}
int sector_size(sqlite3_file*) {
  return 4096;
}
// As the unix VFS: a write does not damage bytes beside it, which the power-cut model keeps to.
int characteristics(sqlite3_file*) {
  return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

constexpr sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = close_file,
    .xRead = read_file,
    .xWrite = write_file,
    .xTruncate = truncate_file,
    .xSync = sync_file,
    .xFileSize = file_size,
    .xLock = lock_file,
    .xUnlock = unlock_file,
    .xCheckReservedLock = check_reserved,
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
    sqlite3_vfs* real = real_of(v);
    return real->xOpen(real, nullptr, f, flags, flags_out);
  }
  auto* const target = reinterpret_cast<vfs_file*>(f);
  target->base.pMethods = nullptr;
  os::directory& directory = directory_of(v);
  os::open_mode mode = os::open_mode::read;
  if ((flags & SQLITE_OPEN_READWRITE) != 0) mode = os::open_mode::read_write;
  bool created = false;
  if ((flags & SQLITE_OPEN_CREATE) != 0) {
    mode = (flags & SQLITE_OPEN_EXCLUSIVE) != 0 ? os::open_mode::create_new : os::open_mode::create;
    created = absl::IsNotFound(directory.status(name).status());
  }
  auto opened = directory.open(name, mode, 0600);
  if (!opened.ok()) return SQLITE_CANTOPEN;
  target->opened = new (std::nothrow) opened_file{
      .file = std::move(*opened),
      .directory = &directory,
      .name = name,
      .directory_unsynced = created,
      .delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0,
      .lock = SQLITE_LOCK_NONE,
  };
  if (target->opened == nullptr) return SQLITE_NOMEM;
  if (flags_out != nullptr) *flags_out = flags;
  target->base.pMethods = &methods;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* v, const char* name, int sync_directory) {
  os::directory& directory = directory_of(v);
  const absl::Status removed = directory.remove_file(name);
  if (absl::IsNotFound(removed)) return SQLITE_IOERR_DELETE_NOENT;
  if (!removed.ok()) return SQLITE_IOERR_DELETE;
  if (sync_directory != 0 && !directory.sync().ok()) return SQLITE_IOERR_DIR_FSYNC;
  return SQLITE_OK;
}

int access_file(sqlite3_vfs* v, const char* name, int what, int* result) {
  const auto s = directory_of(v).status(name);
  if (!s.ok() && !absl::IsNotFound(s.status())) return SQLITE_IOERR_ACCESS;
  // As the unix VFS: an empty file does not count as there (an empty journal is no journal).
  *result = s.ok() && (what != SQLITE_ACCESS_EXISTS || s->st_size > 0);
  return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* result) {
  if (!os::check_relative_path(name).ok() || std::strlen(name) >= static_cast<std::size_t>(size)) {
    return SQLITE_CANTOPEN;
  }
  std::strcpy(result, name);
  return SQLITE_OK;
}

}  // namespace

absl::StatusOr<std::unique_ptr<file_system_vfs>> file_system_vfs::make(
    std::string name, std::unique_ptr<os::directory> directory) {
  if (sqlite3_vfs_find(name.c_str()) != nullptr)
    return absl::AlreadyExistsError("a VFS has this name: " + name);
  sqlite3_vfs* const real = sqlite3_vfs_find(nullptr);
  if (real == nullptr) return absl::InternalError("SQLite has no default VFS");
  std::unique_ptr<file_system_vfs> made(new file_system_vfs);
  made->name_ = std::move(name);
  made->directory_ = std::move(directory);
  // What touches no file (randomness, time, sleep) is the default VFS's own.
  made->vfs_ = std::make_unique<sqlite3_vfs>(*real);
  sqlite3_vfs& v = *made->vfs_;
  v.iVersion = 2;
  v.szOsFile = std::max(static_cast<int>(sizeof(vfs_file)), real->szOsFile);
  v.pNext = nullptr;
  v.zName = made->name_.c_str();
  v.pAppData = made->directory_.get();
  v.xOpen = open_file;
  v.xDelete = delete_file;
  v.xAccess = access_file;
  v.xFullPathname = full_path;
  if (sqlite3_vfs_register(&v, 0) != SQLITE_OK) return absl::InternalError("cannot register a VFS");
  return made;
}

file_system_vfs::~file_system_vfs() {
  if (vfs_ != nullptr) sqlite3_vfs_unregister(vfs_.get());
}

}  // namespace understudy::sqlite
