// What lies in the trash, as one who looks into it from outside finds it.

#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent-failover/replica/tree/deleted_files.hpp"
#include "agent-failover/replica/tree/trash.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using files::deleted_file;
using std::chrono::minutes;
using std::chrono::system_clock;
using testing::ElementsAre;
using testing::IsEmpty;

class files_deleted : public ::testing::Test {
 protected:
  files_deleted() {
    for (const char* name : {"/tree", "/beside/.understudy-trash/files-0", "/to"})
      fs::create_directories(directory_.path() + name);
    tree_ = root("/tree");
    to_ = root("/to");
    trash_ = *files::trash::open(root("/beside/.understudy-trash/files-0"),
                                 {.bytes = 1 << 20, .age = minutes(60)});
  }

  std::string at(const std::string& path) const { return directory_.path() + path; }
  std::unique_ptr<os::directory> root(const std::string& path) const {
    return *os::posix_file_system().open_root(at(path));
  }
  void write(const std::string& path, const std::string& content) {
    fs::create_directories(fs::path(at("/tree/" + path)).parent_path());
    std::ofstream(at("/tree/" + path), std::ios::binary) << content;
  }
  // Written, and deleted in this minute since 1970.
  void remove(const std::string& path, const std::string& content, int minute) {
    write(path, content);
    take(path, content.size(), minute);
  }
  void take(const std::string& path, std::uint64_t bytes, int minute) {
    const absl::Status taken = trash_->take(*tree_, path, bytes, system_clock::time_point(minutes(minute)));
    ASSERT_TRUE(taken.ok()) << message_of(taken);
  }
  files::deleted_files look() const {
    return *files::deleted_files::open(os::posix_file_system(), at("/tree"), at("/beside"), "files-0");
  }
  std::vector<std::string> list(const std::string& under = "") const {
    std::vector<std::string> found;
    const absl::Status listed = look().list(under, [&](deleted_file&& file) {
      found.push_back(fmt::format("{} {} {}", file.version, file.path, file.size));
      return true;
    });
    if (!listed.ok()) return {std::string(message_of(listed))};
    return found;
  }
  std::string version_of(const std::string& path, const files::deleted_version& which = {}) const {
    const auto found = look().find(path, which);
    return found.ok() ? found->version : std::string(absl::StatusCodeToString(found.status().code()));
  }
  absl::Status copy(const std::string& path, const std::string& name) {
    auto trash = look();
    const auto found = trash.find(path, {});
    if (!found.ok()) return found.status();
    return trash.copy(*found, *to_, name, [] { return true; });
  }
  std::string copied(const std::string& name) const {
    std::ifstream in(at("/to/" + name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::vector<std::string> names_copied() const {
    std::vector<std::string> names;
    for (const auto& one : fs::directory_iterator(at("/to"))) names.push_back(one.path().filename());
    return names;
  }

  temporary_directory directory_{where::memory};
  std::unique_ptr<os::directory> tree_;
  std::unique_ptr<os::directory> to_;
  std::unique_ptr<files::trash> trash_;
};

TEST_F(files_deleted, are_listed_newest_first_with_every_version) {
  EXPECT_THAT(list(), IsEmpty());
  remove("d/a", "1", 100);
  remove("d/a", "22", 100);
  for (int n = 2; n < 12; ++n) remove("d/a", "333", 100);  // more than nine in a minute
  remove("d/a", "4444", 101);
  const auto all = list();
  ASSERT_EQ(all.size(), 13U);
  EXPECT_EQ(all.front(), "101 d/a 4");
  EXPECT_EQ(all[1], "100.11 d/a 3");
  EXPECT_EQ(all.back(), "100 d/a 1");
}

TEST_F(files_deleted, are_bounded_in_number_too) {
  constexpr std::size_t most = (1 << 20) / 4096;
  for (int n = 0; n < 1000; ++n) remove("lock", "", 100);  // one path, again and again in one minute
  EXPECT_LE(list().size(), most / 2);
  EXPECT_GT(list().size(), most / 4);
  const std::uint64_t kept = trash_->bytes();
  EXPECT_LE(kept, std::uint64_t{1} << 20);
  write("d/e/f/a", "1");
  take("d", files::kept_bytes(0) * 4, 101);
  const std::uint64_t both = trash_->bytes();
  trash_ =
      *files::trash::open(root("/beside/.understudy-trash/files-0"), {.bytes = 1 << 20, .age = minutes(60)});
  EXPECT_EQ(trash_->bytes(), both) << "counted alike after a restart";
}

TEST_F(files_deleted, are_listed_below_a_path) {
  write("d/e/a", "1");
  write("d/e/b", "1");
  take("d", 2, 100);
  remove("de", "1", 101);
  EXPECT_EQ(list().size(), 3U);
  EXPECT_EQ(list("d/e").size(), 2U);
  EXPECT_THAT(list("d/e/a"), ElementsAre("100 d/e/a 1"));
  EXPECT_THAT(list("de"), ElementsAre("101 de 1"));
  EXPECT_THAT(list("d/e/a/below"), IsEmpty());
  EXPECT_THAT(list("x"), IsEmpty());
}

TEST_F(files_deleted, the_version_of_a_moment_is_the_one_deleted_first_after_it) {
  for (const int minute : {100, 110, 120}) remove("a", "x", minute);
  const auto version_at = [&](int minute, int seconds = 0) {
    return version_of(
        "a", {.at = system_clock::time_point(minutes(minute) + std::chrono::seconds(seconds)), .name = {}});
  };
  EXPECT_EQ(version_of("a"), "120");
  EXPECT_EQ(version_at(90), "100");
  EXPECT_EQ(version_at(100, 59), "100");
  EXPECT_EQ(version_at(101), "110");
  EXPECT_EQ(version_at(120, 30), "120");
  EXPECT_EQ(version_at(121), "NOT_FOUND");
  EXPECT_EQ(version_of("a", {.at = {}, .name = "110"}), "110");
  EXPECT_EQ(version_of("a", {.at = {}, .name = "111"}), "NOT_FOUND");
  EXPECT_EQ(version_of("a", {.at = {}, .name = "../110"}), "NOT_FOUND");
}

TEST_F(files_deleted, paths_that_lead_out_are_refused) {
  remove("d/a", "x", 100);
  std::ofstream(at("/beside/secret")) << "secret";
  fs::create_symlink(at("/beside"), at("/beside/.understudy-trash/files-0/100/link"));
  for (const char* path : {"../100/d/a", "d/../d/a", "/d/a", "d//a", "."})
    EXPECT_EQ(version_of(path), "INVALID_ARGUMENT") << path;
  EXPECT_EQ(version_of(""), "INVALID_ARGUMENT");
  EXPECT_EQ(version_of(std::string("d\0a", 3)), "INVALID_ARGUMENT");
  EXPECT_EQ(version_of("d"), "INVALID_ARGUMENT");  // a directory
  EXPECT_EQ(version_of("link/secret"), "NOT_FOUND");
  EXPECT_THAT(list("link/secret"), IsEmpty());
  EXPECT_THAT(list("link"), ElementsAre(fmt::format("100 link {}", at("/beside").size())));
}

TEST_F(files_deleted, a_copy_has_content_and_time_and_never_replaces) {
  remove("d/a", "hello", 100);
  struct ::timespec times[2] = {{.tv_sec = 5, .tv_nsec = 7}, {.tv_sec = 5, .tv_nsec = 7}};
  ASSERT_EQ(::utimensat(AT_FDCWD, at("/beside/.understudy-trash/files-0/100/d/a").c_str(), times, 0), 0);
  ASSERT_TRUE(copy("d/a", "a").ok());
  EXPECT_EQ(copied("a"), "hello");
  struct ::stat status {};
  ASSERT_EQ(::stat(at("/to/a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(status.st_mtim.tv_sec, 5);
  EXPECT_EQ(status.st_mtim.tv_nsec, 7);
  EXPECT_THAT(list(), ElementsAre("100 d/a 5"));

  std::ofstream(at("/to/b")) << "mine";
  EXPECT_TRUE(absl::IsAlreadyExists(copy("d/a", "b")));
  EXPECT_EQ(copied("b"), "mine");
  fs::create_symlink(at("/to/nowhere"), at("/to/c"));
  EXPECT_TRUE(absl::IsAlreadyExists(copy("d/a", "c")));
  EXPECT_THAT(names_copied(), testing::UnorderedElementsAre("a", "b", "c"));
}

TEST_F(files_deleted, any_name_and_a_symlink_come_back_as_they_were) {
  const std::string name = "d/one\ntwo\xff\x1b[31m";
  remove(name, "x", 100);
  fs::create_symlink("/etc/passwd", at("/tree/link"));
  take("link", 0, 100);
  ASSERT_TRUE(copy(name, "a").ok());
  EXPECT_EQ(copied("a"), "x");
  ASSERT_TRUE(copy("link", "l").ok());
  EXPECT_EQ(fs::read_symlink(at("/to/l")), "/etc/passwd");
}

TEST_F(files_deleted, what_goes_away_meanwhile_is_not_found_and_leaves_nothing) {
  remove("a", "x", 100);
  auto trash = look();
  const auto found = trash.find("a", {});
  ASSERT_TRUE(found.ok());
  ASSERT_TRUE(trash_->prune(system_clock::time_point(minutes(1000))).ok());
  EXPECT_TRUE(absl::IsNotFound(trash.copy(*found, *to_, "a", [] { return true; })));
  EXPECT_THAT(names_copied(), IsEmpty());
  EXPECT_THAT(list(), IsEmpty());
}

TEST_F(files_deleted, a_copy_that_is_given_up_leaves_nothing) {
  remove("a", std::string(1'000'000, 'x'), 100);
  auto trash = look();
  const auto found = trash.find("a", {});
  ASSERT_TRUE(found.ok());
  const absl::Status given_up = trash.copy(*found, *to_, "a", [] { return false; });
  // Where blocks are shared there was nothing to give up.
  EXPECT_TRUE(given_up.ok() || absl::IsCancelled(given_up)) << message_of(given_up);
  EXPECT_EQ(names_copied().size(), given_up.ok() ? 1U : 0U);
}

TEST_F(files_deleted, a_trash_that_is_filled_and_pruned_can_be_read_all_the_time) {
  std::atomic<bool> over{false};
  std::thread sink([&] {
    for (int minute = 100; minute < 400; ++minute) {
      remove(fmt::format("d/{}/a", minute), std::string(10'000, 'x'), minute);
      remove("same", "x", minute);
    }
    over = true;
  });
  while (!over) {
    const absl::Status listed = look().list("", [](deleted_file&&) { return true; });
    EXPECT_TRUE(listed.ok()) << message_of(listed);
    const std::string version = version_of("same");
    EXPECT_TRUE(version == "NOT_FOUND" || std::stoi(version) >= 100) << version;
    if (HasFailure()) break;
  }
  sink.join();
}

TEST_F(files_deleted, a_tree_without_a_trash_has_none) {
  const auto none =
      files::deleted_files::open(os::posix_file_system(), at("/nowhere"), at("/beside"), "files-1");
  ASSERT_TRUE(none.ok()) << message_of(none.status());
}

}  // namespace
}  // namespace understudy::test
