#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "common/os/file_system.hpp"
#include "common/os/relative_path.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::os {
namespace {

// Repeats a call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

// For error messages only: `base` is the absolute path by which the directory was opened.
std::string join(std::string_view base, std::string_view path) {
  return base.ends_with('/') ? fmt::format("{}{}", base, path) : fmt::format("{}/{}", base, path);
}

int open_beneath(int directory, const std::string& path, int flags, mode_t permissions) {
  struct open_how how {};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & O_CREAT) != 0 ? permissions : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
    // EAGAIN: a rename elsewhere on the machine raced with RESOLVE_BENEATH (openat2(2)).
    if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return static_cast<int>(fd);
  }
}

class posix_file final : public file {
 public:
  posix_file(unique_fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::StatusOr<std::size_t> read_at(std::span<std::byte> buffer, std::uint64_t offset) override {
    std::size_t done = 0;
    while (done < buffer.size()) {
      const ssize_t n = uninterrupted([&] {
        return ::pread(fd_.value(), buffer.data() + done, buffer.size() - done,
                       static_cast<off_t>(offset + done));
      });
      if (n < 0) return error("read");
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  absl::Status write_at(std::span<const std::byte> data, std::uint64_t offset) override {
    while (!data.empty()) {
      const ssize_t n = uninterrupted(
          [&] { return ::pwrite(fd_.value(), data.data(), data.size(), static_cast<off_t>(offset)); });
      if (n < 0) return error("write");
      if (n == 0) return errno_status(EIO, "write", path_);
      data = data.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status truncate(std::uint64_t size) override {
    return check(uninterrupted([&] { return ::ftruncate(fd_.value(), static_cast<off_t>(size)); }),
                 "truncate");
  }

  absl::Status allocate(std::uint64_t offset, std::uint64_t length) override {
    int failure;  // posix_fallocate(3) returns the error; it writes zeros where the filesystem cannot reserve
    do {
      failure = ::posix_fallocate(fd_.value(), static_cast<off_t>(offset), static_cast<off_t>(length));
    } while (failure == EINTR);
    return failure == 0 ? absl::OkStatus() : errno_status(failure, "allocate", path_);
  }

  absl::Status clone_from(file& source, const copy_progress& progress) override {
    if (::ioctl(fd_.value(), FICLONE, source.descriptor()) == 0) return absl::OkStatus();
    UNDERSTUDY_RETURN_IF_ERROR(truncate(0));
    UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat like, source.status());
    const auto told = [&](off_t done) {
      if (!progress || progress(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(like.st_size)))
        return absl::OkStatus();
      return absl::CancelledError("the copy was given up");
    };
    off_t from = 0;
    off_t to = 0;
    constexpr std::size_t slice = 16 << 20;  // bytes per call, so that a signal is noticed
    for (;;) {
      const ssize_t n = uninterrupted(
          [&] { return ::copy_file_range(source.descriptor(), &from, fd_.value(), &to, slice, 0); });
      if (n < 0) {
        if (errno == EXDEV || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS) break;
        return error("copy into");
      }
      if (n == 0) return absl::OkStatus();
      UNDERSTUDY_RETURN_IF_ERROR(told(to));
    }
    std::vector<std::byte> buffer(1 << 20);
    for (auto offset = static_cast<std::uint64_t>(to);;) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, source.read_at(buffer, offset));
      if (n == 0) return absl::OkStatus();
      UNDERSTUDY_RETURN_IF_ERROR(write_at(std::span(buffer).first(n), offset));
      offset += n;
      UNDERSTUDY_RETURN_IF_ERROR(told(static_cast<off_t>(offset)));
    }
  }

  absl::Status sync_data() override {
    return check(uninterrupted([&] { return ::fdatasync(fd_.value()); }), "fdatasync");
  }

  absl::StatusOr<struct ::stat> status() override {
    struct ::stat result {};
    if (::fstat(fd_.value(), &result) != 0) return error("fstat");
    return result;
  }

  absl::Status set_mode(mode_t mode) override { return check(::fchmod(fd_.value(), mode), "chmod"); }
  absl::Status set_owner(uid_t uid, gid_t gid) override {
    return check(::fchown(fd_.value(), uid, gid), "chown");
  }
  absl::Status set_times(const struct ::timespec& access, const struct ::timespec& modification) override {
    const std::array times{access, modification};
    return check(::futimens(fd_.value(), times.data()), "utimens");
  }
  int descriptor() const override { return fd_.value(); }

 private:
  absl::Status error(std::string_view operation) const { return errno_status(errno, operation, path_); }
  absl::Status check(int result, std::string_view operation) const {
    return result == 0 ? absl::OkStatus() : error(operation);
  }

  unique_fd fd_;
  std::string path_;
};

class posix_directory final : public directory {
 public:
  posix_directory(unique_fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::StatusOr<std::unique_ptr<file>> open(std::string_view path, open_mode mode,
                                             mode_t permissions) override {
    UNDERSTUDY_RETURN_IF_ERROR(check_relative_path(path));
    // O_NONBLOCK: a FIFO in the way must not block the caller; regular files ignore it.
    int flags = O_NONBLOCK | O_NOCTTY;
    switch (mode) {
      case open_mode::read:
        flags |= O_RDONLY;
        break;
      case open_mode::read_write:
        flags |= O_RDWR;
        break;
      case open_mode::create:
        flags |= O_RDWR | O_CREAT;
        break;
      case open_mode::create_new:
        flags |= O_RDWR | O_CREAT | O_EXCL;
        break;
    }
    unique_fd fd(open_beneath(fd_.value(), std::string(path), flags, permissions));
    if (!fd) return error("open", path);
    struct ::stat found {};
    if (::fstat(fd.value(), &found) != 0) return error("fstat", path);
    if (!S_ISREG(found.st_mode)) {
      return absl::FailedPreconditionError(fmt::format("open {}: not a regular file", join(path_, path)));
    }
    return std::make_unique<posix_file>(std::move(fd), join(path_, path));
  }

  absl::StatusOr<std::unique_ptr<directory>> open_directory(std::string_view path) override {
    UNDERSTUDY_RETURN_IF_ERROR(check_relative_path(path));
    unique_fd fd(open_beneath(fd_.value(), std::string(path), O_RDONLY | O_DIRECTORY, 0));
    if (!fd) return error("open directory", path);
    return std::make_unique<posix_directory>(std::move(fd), join(path_, path));
  }

  absl::Status make_directory(std::string_view path, mode_t permissions) override {
    return in_parent("mkdir", path,
                     [&](int parent, const char* name) { return ::mkdirat(parent, name, permissions); });
  }

  absl::Status make_symlink(std::string_view target, std::string_view path) override {
    const std::string text(target);
    return in_parent("symlink", path,
                     [&](int parent, const char* name) { return ::symlinkat(text.c_str(), parent, name); });
  }

  absl::Status make_hard_link(std::string_view existing, directory& to, std::string_view path) override {
    UNDERSTUDY_ASSIGN_OR_RETURN(const parent_and_name source, parent_of(existing));
    UNDERSTUDY_ASSIGN_OR_RETURN(const parent_and_name target, peer(to).parent_of(path));
    return check(::linkat(source.fd(), source.name.c_str(), target.fd(), target.name.c_str(), 0), "link",
                 existing);
  }

  absl::Status rename(std::string_view from, directory& to, std::string_view path,
                      rename_mode mode) override {
    UNDERSTUDY_ASSIGN_OR_RETURN(const parent_and_name source, parent_of(from));
    UNDERSTUDY_ASSIGN_OR_RETURN(const parent_and_name target, peer(to).parent_of(path));
    unsigned flags = 0;
    if (mode == rename_mode::no_replace) flags = RENAME_NOREPLACE;
    if (mode == rename_mode::exchange) flags = RENAME_EXCHANGE;
    return check(::renameat2(source.fd(), source.name.c_str(), target.fd(), target.name.c_str(), flags),
                 "rename", from);
  }

  absl::Status remove_file(std::string_view path) override {
    return in_parent("unlink", path,
                     [](int parent, const char* name) { return ::unlinkat(parent, name, 0); });
  }
  absl::Status remove_directory(std::string_view path) override {
    return in_parent("rmdir", path,
                     [](int parent, const char* name) { return ::unlinkat(parent, name, AT_REMOVEDIR); });
  }

  absl::Status sync() override {
    return check(uninterrupted([&] { return ::fsync(fd_.value()); }), "fsync directory", "");
  }

  absl::StatusOr<struct ::stat> status(std::string_view path) override {
    struct ::stat result {};
    UNDERSTUDY_RETURN_IF_ERROR(in_parent("lstat", path, [&](int parent, const char* name) {
      return ::fstatat(parent, name, &result, AT_SYMLINK_NOFOLLOW);
    }));
    return result;
  }

  absl::StatusOr<std::string> read_symlink(std::string_view path) override {
    std::string target(4096, '\0');  // PATH_MAX bounds what symlink(2) accepts
    ssize_t length = -1;
    UNDERSTUDY_RETURN_IF_ERROR(in_parent("readlink", path, [&](int parent, const char* name) {
      length = ::readlinkat(parent, name, target.data(), target.size());
      return length < 0 ? -1 : 0;
    }));
    target.resize(static_cast<std::size_t>(length));
    return target;
  }

  absl::Status list(const std::function<bool(const directory_entry&)>& visit) override {
    // A description of its own, because a directory's read position belongs to the open file description.
    unique_fd fd(::openat(fd_.value(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return error("open directory", "");
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.value()), &::closedir);
    if (stream == nullptr) return error("list", "");
    fd.release();
    for (;;) {
      errno = 0;
      const dirent* found = ::readdir(stream.get());
      if (found == nullptr) return errno == 0 ? absl::OkStatus() : error("list", "");
      directory_entry entry{
          .name = found->d_name, .type = static_cast<mode_t>(DTTOIF(found->d_type)), .inode = found->d_ino};
      if (entry.name == "." || entry.name == "..") continue;
      if (found->d_type == DT_UNKNOWN) {
        struct ::stat result {};
        if (::fstatat(fd_.value(), found->d_name, &result, AT_SYMLINK_NOFOLLOW) != 0) {
          if (errno == ENOENT) continue;
          return error("lstat", entry.name);
        }
        entry.type = result.st_mode & S_IFMT;
      }
      if (!visit(entry)) return absl::OkStatus();
    }
  }

  absl::Status set_mode(std::string_view path, mode_t mode) override {
    return in_parent("chmod", path, [&](int parent, const char* name) {
      return ::fchmodat(parent, name, mode, AT_SYMLINK_NOFOLLOW);
    });
  }
  absl::Status set_owner(std::string_view path, uid_t uid, gid_t gid) override {
    return in_parent("chown", path, [&](int parent, const char* name) {
      return ::fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW);
    });
  }
  absl::Status set_times(std::string_view path, const struct ::timespec& access,
                         const struct ::timespec& modification) override {
    const std::array times{access, modification};
    return in_parent("utimens", path, [&](int parent, const char* name) {
      return ::utimensat(parent, name, times.data(), AT_SYMLINK_NOFOLLOW);
    });
  }
  int descriptor() const override { return fd_.value(); }

 private:
  // The directory that holds a path's last component: this one, or one opened for the purpose.
  struct parent_and_name {
    int borrowed = -1;
    unique_fd owned;
    std::string name;
    int fd() const { return owned ? owned.value() : borrowed; }
  };

  absl::StatusOr<parent_and_name> parent_of(std::string_view path) const {
    UNDERSTUDY_RETURN_IF_ERROR(check_relative_path(path));
    auto [parent, name] = split_parent(path);
    parent_and_name result{.borrowed = fd_.value(), .owned = {}, .name = std::move(name)};
    if (!parent.empty()) {
      result.owned.reset(open_beneath(fd_.value(), parent, O_PATH | O_DIRECTORY, 0));
      if (!result.owned) return error("open directory", parent);
    }
    return result;
  }

  template <class Call>
  absl::Status in_parent(std::string_view operation, std::string_view path, Call call) const {
    UNDERSTUDY_ASSIGN_OR_RETURN(const parent_and_name at, parent_of(path));
    return check(uninterrupted([&] { return call(at.fd(), at.name.c_str()); }), operation, path);
  }

  absl::Status error(std::string_view operation, std::string_view path) const {
    return errno_status(errno, operation, path.empty() ? path_ : join(path_, path));
  }
  absl::Status check(int result, std::string_view operation, std::string_view path) const {
    return result == 0 ? absl::OkStatus() : error(operation, path);
  }

  static posix_directory& peer(directory& d) { return static_cast<posix_directory&>(d); }

  unique_fd fd_;
  std::string path_;
};

class posix final : public file_system {
 public:
  absl::StatusOr<std::unique_ptr<directory>> open_root(std::string_view absolute_path) override {
    std::string path(absolute_path);
    if (!path.starts_with('/')) {
      return absl::InvalidArgumentError(fmt::format("path \"{}\": it is not absolute", path));
    }
    unique_fd fd(uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (!fd) return errno_status(errno, "open directory", path);
    return std::make_unique<posix_directory>(std::move(fd), std::move(path));
  }

  absl::Status sync_file_system(directory& d) override {
    if (uninterrupted([&] { return ::syncfs(d.descriptor()); }) == 0) return absl::OkStatus();
    return errno_status(errno, "syncfs", fmt::format("descriptor {}", d.descriptor()));
  }
};

}  // namespace

file_system& posix_file_system() {
  static posix instance;
  return instance;
}

}  // namespace understudy::os
