// Every page size; databases past the lock page and past 4 GiB; a disk that is full at every size.

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent-failover/replica/database_copy.hpp"
#include "common/os/byte_lock.hpp"
#include "common/os/unique_fd.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;

absl::StatusOr<std::unique_ptr<database_copy>> open_at(const std::string& place,
                                                       replica::copy_options options = {},
                                                       os::file_system& fs = os::posix_file_system()) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, fs.open_root(place));
  return database_copy::open(std::move(directory), "copy.db", options);
}

class page_sizes : public testing::TestWithParam<std::uint32_t> {};

TEST_P(page_sizes, transactions_heals_folds_and_shrinking) {
  const test::temporary_directory place(test::where::memory);
  const std::string path = place.path() + "/copy.db";
  const test::history h = test::make_history({.transactions = 40, .page_size = GetParam()});
  auto opened = open_at(place.path(), {.fold_bytes = 64 << 10, .spill_bytes = 100'000});
  ASSERT_TRUE(opened.ok());
  database_copy& copy = **opened;
  const auto check = [&](std::size_t n) {
    ASSERT_TRUE(copy.commit_durably().ok());
    ASSERT_EQ(copy.state().combined, h.registers[n]);
    const test::finding f = test::inspect(path, h);
    ASSERT_EQ(f.error, "");
    ASSERT_EQ(f.marker, static_cast<std::int64_t>(n));
  };
  ASSERT_TRUE(test::heal(copy, h, 0, heal_way::new_file).ok());
  ASSERT_NO_FATAL_FAILURE(check(0));
  for (std::size_t n = 1; n <= 20; ++n) {
    ASSERT_TRUE(test::apply(copy, h, n).ok());
    ASSERT_NO_FATAL_FAILURE(check(n));
    if (n % 5 == 0) {
      ASSERT_TRUE(copy.fold().ok());
    }
  }
  ASSERT_TRUE(test::heal(copy, h, 30, heal_way::in_place).ok());
  ASSERT_NO_FATAL_FAILURE(check(30));
  ASSERT_TRUE(test::heal(copy, h, 40, heal_way::new_file).ok());
  ASSERT_NO_FATAL_FAILURE(check(40));
  // Back to the smallest: the file is as large as the database says once it is folded, no remainder behind
  // it.
  const auto smallest =
      static_cast<std::size_t>(std::min_element(h.pages.begin(), h.pages.end()) - h.pages.begin());
  ASSERT_LT(h.pages[smallest], h.pages[40]);
  ASSERT_TRUE(test::heal(copy, h, smallest, heal_way::in_place).ok());
  ASSERT_NO_FATAL_FAILURE(check(smallest));
  ASSERT_TRUE(copy.fold().ok());
  EXPECT_EQ(std::filesystem::file_size(path), std::uint64_t{h.pages[smallest]} * h.page_size);
  ASSERT_TRUE(copy.prepare_for_stand_in().ok());
  const test::finding f = test::inspect(path, h);
  EXPECT_EQ(f.error, "");
  EXPECT_EQ(f.marker, static_cast<std::int64_t>(smallest));
}

INSTANTIATE_TEST_SUITE_P(of_sqlite, page_sizes,
                         testing::Values(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536));

// -- what holds a copy together
// ------------------------------------------------------------------------------

// Without it a reader that comes in the middle of a fold finds a -shm of its own, and pages of two
// generations.
TEST(replica_guards, the_dead_mans_switch_is_held_for_the_whole_life) {
  const test::temporary_directory place(test::where::memory);
  const test::history h = test::make_history({.transactions = 10});
  auto opened = open_at(place.path());
  ASSERT_TRUE(opened.ok());
  database_copy& copy = **opened;
  const auto held = [&] {
    const os::unique_fd other(::open((place.path() + "/copy.db-shm").c_str(), O_RDWR | O_CLOEXEC));
    const auto taken = os::try_lock(other.value(), os::lock_mode::exclusive, sqlite::shm_lock_dms, 1);
    return other && taken.ok() && !*taken;
  };
  ASSERT_TRUE(test::heal(copy, h, 0, heal_way::new_file).ok());
  ASSERT_TRUE(copy.commit_durably().ok());
  EXPECT_TRUE(held());
  for (std::size_t n = 1; n <= 5; ++n) ASSERT_TRUE(test::apply(copy, h, n).ok());
  ASSERT_TRUE(copy.commit_durably().ok());
  EXPECT_TRUE(held());
  ASSERT_TRUE(copy.fold().ok());
  EXPECT_TRUE(held());
  ASSERT_TRUE(test::heal(copy, h, 8, heal_way::new_file).ok());
  ASSERT_TRUE(copy.commit_durably().ok());
  EXPECT_TRUE(held());
  // A reader that comes and goes takes neither the switch nor the files away.
  EXPECT_EQ(test::inspect(place.path() + "/copy.db", h).error, "");
  EXPECT_TRUE(held());
  EXPECT_TRUE(std::filesystem::exists(place.path() + "/copy.db-wal"));
  ASSERT_TRUE(copy.prepare_for_stand_in().ok());
  EXPECT_FALSE(std::filesystem::exists(place.path() + "/copy.db-shm"));
  ASSERT_TRUE(copy.resume().ok());
  EXPECT_TRUE(held());
}

// The -wal's own name is durable before the database's leads to the new file: a directory need not keep the
// order of its changes, and what is acknowledged next lies in the -wal.
TEST(replica_guards, the_log_is_there_before_the_database_takes_its_name) {
  const test::history h = test::make_history({.transactions = 3});
  const auto first_heal = [&](test::faulty_file_system& fs, const std::string& place) -> absl::Status {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto copy, open_at(place, {}, fs));
    UNDERSTUDY_RETURN_IF_ERROR(test::heal(*copy, h, 0, heal_way::new_file));
    return copy->commit_durably();
  };
  std::uint64_t operations = 0;
  {
    const test::temporary_directory place(test::where::memory);
    test::faulty_file_system fs(place.path());
    ASSERT_TRUE(first_heal(fs, place.path()).ok());
    operations = fs.operations();
  }
  // The operation after which the name is there, whatever is durable, is the rename.
  std::uint64_t rename = 0;
  for (std::uint64_t n = 1; n <= operations && rename == 0; ++n) {
    const test::temporary_directory place(test::where::memory);
    test::faulty_file_system fs(place.path());
    fs.cut_power_at_operation(n);
    (void)first_heal(fs, place.path());
    if (std::filesystem::exists(place.path() + "/copy.db")) rename = n - 1;
  }
  ASSERT_GT(rename, 0u);
  const test::temporary_directory place(test::where::memory);
  test::faulty_file_system fs(place.path());
  fs.cut_power_at_operation(rename);
  EXPECT_FALSE(first_heal(fs, place.path()).ok());
  const test::temporary_directory image(test::where::memory);
  ASSERT_TRUE(fs.materialise(image.path(), test::unsynced::lost, 1).ok());
  EXPECT_TRUE(std::filesystem::exists(image.path() + "/copy.db-wal"));
}

// -- large
// ---------------------------------------------------------------------------------------------------

// A sparse database of `pages` pages of 64 KiB, empty but for its header.
void make_sparse(const std::string& path, std::uint32_t pages) {
  constexpr std::uint32_t page_size = 65536;
  {
    const test::history h = test::make_history({.transactions = 1, .page_size = page_size});
    std::ofstream out(path, std::ios::binary);
    for (const auto& page : h.image(0)) out.write(page.bytes.data(), page_size);
  }
  const os::unique_fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::ftruncate(fd.value(), static_cast<off_t>(std::uint64_t{pages} * page_size)), 0);
  const unsigned char size[] = {static_cast<unsigned char>(pages >> 24),
                                static_cast<unsigned char>(pages >> 16),
                                static_cast<unsigned char>(pages >> 8), static_cast<unsigned char>(pages)};
  ASSERT_EQ(::pwrite(fd.value(), size, sizeof size, 28), 4);  // in-header database size
}

class large : public testing::TestWithParam<std::uint64_t> {};

// Writes the pages around the lock page and at the end, through the log, and finds them in the file.
TEST_P(large, offsets_and_the_lock_page_hold) {
  constexpr std::uint32_t page_size = 65536;
  const auto pages = static_cast<std::uint32_t>(GetParam() / page_size);
  const std::uint32_t lock_page = sqlite::lock_page(page_size);
  const test::temporary_directory place(test::where::memory);
  const std::string path = place.path() + "/copy.db";
  ASSERT_NO_FATAL_FAILURE(make_sparse(path, pages));
  auto opened = open_at(place.path());
  ASSERT_TRUE(opened.ok()) << message_of(opened.status());
  database_copy& copy = **opened;
  ASSERT_EQ(copy.state().database_pages, pages);
  sqlite::page_hash after = copy.state().combined;
  ASSERT_TRUE(copy.begin_heal(heal_way::in_place, page_size).ok());
  const std::vector<std::uint32_t> numbers = {lock_page - 1, lock_page, lock_page + 1, pages - 1, pages};
  for (const std::uint32_t n : numbers) {
    if (n > pages) continue;
    const std::string bytes(page_size, static_cast<char>('a' + n % 26));
    const channel::page_image image{.number = n, .bytes = bytes};
    // One that a hostile end sends for the page that SQLite never stores is left out.
    ASSERT_TRUE(copy.add_pages(page_size, {&image, 1}).ok());
    if (n == lock_page) continue;
    after ^= copy.hashes(n, 1).front();
    after ^= sqlite::hash_page(n, std::as_bytes(std::span(bytes)));
  }
  ASSERT_TRUE(copy.end_heal(pages, after).ok());
  ASSERT_TRUE(copy.commit_durably().ok());
  ASSERT_TRUE(copy.fold().ok());
  EXPECT_EQ(copy.state().combined, after);
  const os::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  for (const std::uint32_t n : numbers) {
    if (n > pages) continue;
    char byte = 0;
    ASSERT_EQ(::pread(fd.value(), &byte, 1, static_cast<off_t>(std::uint64_t{n - 1} * page_size + 17)), 1);
    EXPECT_EQ(byte, n == lock_page ? 0 : static_cast<char>('a' + n % 26)) << n;
  }
  const auto differ = copy.scrub(lock_page > 3 ? lock_page - 2 : 1, 8);
  ASSERT_TRUE(differ.ok());
  EXPECT_TRUE(differ->empty());
  EXPECT_EQ(static_cast<std::uint64_t>(std::filesystem::file_size(path)), std::uint64_t{pages} * page_size);
}

INSTANTIATE_TEST_SUITE_P(past, large,
                         testing::Values((std::uint64_t{1} << 30) + 8 * 65536,
                                         (std::uint64_t{1} << 32) + 8 * 65536),
                         [](const auto& p) { return p.index == 0 ? "one_gibibyte" : "four_gibibytes"; });

// -- a full disk
// ---------------------------------------------------------------------------------------------

// A filesystem of its own, of a chosen size.
class small_disk {
 public:
  explicit small_disk(std::uint64_t bytes) {
    mounted_ = ::mount("understudy-test", place_.path().c_str(), "tmpfs", 0,
                       fmt::format("size={}", bytes).c_str()) == 0;
  }
  ~small_disk() {
    if (mounted_) ::umount2(place_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return place_.path(); }
  void grow() const {
    (void)::mount("understudy-test", place_.path().c_str(), "tmpfs", MS_REMOUNT, "size=64m");
  }

 private:
  const test::temporary_directory place_{test::where::memory};
  bool mounted_ = false;
};

// On a disk that is full at each size in turn: the copy says that there is no space, shows a committed
// prefix, and goes on where it was when there is space again.
TEST(full_disk, at_every_write) {
  const test::history h = test::make_history({.transactions = 40});
  const std::uint64_t step = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 4096 : 12288;
  int met = 0;
  for (std::uint64_t bytes = 16 << 10;; bytes += step) {
    SCOPED_TRACE(fmt::format("{} bytes", bytes));
    const small_disk disk(bytes);
    if (!disk.mounted()) GTEST_SKIP() << "mounting needs CAP_SYS_ADMIN";
    int acknowledged = -1;
    int attempted = -1;
    absl::Status met_with;
    {
      auto opened = open_at(disk.path(), {.fold_bytes = 64 << 10, .spill_bytes = 60'000});
      ASSERT_TRUE(opened.ok()) << message_of(opened.status());
      database_copy& copy = **opened;
      const auto work = [&]() -> absl::Status {
        const auto commit = [&] {
          const absl::Status committed = copy.commit_durably();
          if (committed.ok()) acknowledged = attempted;
          return committed;
        };
        if (acknowledged < 0) {
          attempted = std::max(attempted, 0);
          UNDERSTUDY_RETURN_IF_ERROR(test::heal(copy, h, 0, heal_way::new_file));
          UNDERSTUDY_RETURN_IF_ERROR(commit());
        }
        while (acknowledged < 40) {
          const int next = acknowledged + 1;
          attempted = std::max(attempted, next);
          if (next % 13 == 0) {
            UNDERSTUDY_RETURN_IF_ERROR(
                test::heal(copy, h, static_cast<std::size_t>(next), heal_way::new_file));
          } else if (next % 7 == 0) {
            UNDERSTUDY_RETURN_IF_ERROR(
                test::heal(copy, h, static_cast<std::size_t>(next), heal_way::in_place));
          } else {
            UNDERSTUDY_RETURN_IF_ERROR(test::apply(copy, h, static_cast<std::size_t>(next)));
          }
          const absl::Status committed = copy.commit_durably();
          if (!committed.ok()) return committed;
          acknowledged = next;
          UNDERSTUDY_RETURN_IF_ERROR(copy.fold_if_due());
        }
        return absl::OkStatus();
      };
      met_with = work();
      if (!met_with.ok()) {
        ++met;
        ASSERT_TRUE(is_out_of_space(met_with)) << met_with.ToString();
        // The next stream takes the copy back, still without space or with it.
        (void)copy.resume();
        disk.grow();
        const absl::Status back = copy.resume();
        ASSERT_TRUE(back.ok()) << message_of(back);
        const int found = copy.state().exists ? h.find(copy.state().combined) : -1;
        ASSERT_GE(found, acknowledged);
        ASSERT_LE(found, attempted);
        if (copy.state().exists) {
          const test::finding f = test::inspect(disk.path() + "/copy.db", h);
          ASSERT_EQ(f.error, "");
          ASSERT_EQ(f.marker, found);
        }
        acknowledged = found;
        const absl::Status rest = work();
        ASSERT_TRUE(rest.ok()) << message_of(rest);
      }
    }
    const test::finding f = test::inspect(disk.path() + "/copy.db", h);
    ASSERT_EQ(f.error, "");
    ASSERT_EQ(f.marker, 40);
    if (met_with.ok()) break;  // it was large enough for all of it
  }
  EXPECT_GT(met, 5);
}

}  // namespace
}  // namespace understudy
