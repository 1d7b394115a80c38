#include "tests/bench/disk_floor.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "common/os/unique_fd.hpp"
#include "tests/bench/figure.hpp"

namespace understudy::bench {
namespace {

constexpr std::chrono::milliseconds pause{10};

void must(bool worked, const char* what) {
  if (!worked) give_up(what);
}

}  // namespace

void measure_appends(const std::string& directory, int count, bool growing, samples& into) {
  const std::string path = directory + "/floor";
  const os::unique_fd file(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
  const std::string block(12 << 10, 'x');
  if (!growing) {
    for (int i = 0; i < count; ++i) must(::write(file.value(), block.data(), block.size()) > 0, "write");
    must(::fsync(file.value()) == 0 && ::lseek(file.value(), 0, SEEK_SET) == 0, "fsync");
  }
  auto due = clock::now();
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_until(due += pause);
    const auto began = clock::now();
    must(::write(file.value(), block.data(), block.size()) == static_cast<ssize_t>(block.size()), "append");
    must(::fdatasync(file.value()) == 0, "fdatasync");
    into.add(milliseconds_since(began));
  }
  ::unlink(path.c_str());
}

void measure_new_files(const std::string& directory, int count, samples& into) {
  const os::unique_fd place(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string content(4096, 'x');
  const std::string temporary = directory + "/floor.tmp";
  auto due = clock::now();
  for (int i = 0; i < count; ++i) {
    const std::string name = fmt::format("{}/floor{}", directory, i);
    std::this_thread::sleep_until(due += pause);
    const auto began = clock::now();
    {
      const os::unique_fd file(::open(temporary.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600));
      must(::write(file.value(), content.data(), content.size()) == 4096, "write");
      must(::fsync(file.value()) == 0, "fsync");
    }
    must(std::rename(temporary.c_str(), name.c_str()) == 0, "rename");
    must(::fsync(place.value()) == 0, "fsync of a directory");
    into.add(milliseconds_since(began));
  }
  for (int i = 0; i < count; ++i) ::unlink(fmt::format("{}/floor{}", directory, i).c_str());
}

}  // namespace understudy::bench
