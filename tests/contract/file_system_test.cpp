// One suite over both implementations of os::file_system: what the tests below state is what its users rely
// on.

#include "common/os/file_system.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/status/status_text.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using os::open_mode;
using os::rename_mode;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string content(os::file& f) {
  std::string text(1 << 16, '\0');
  const auto n = f.read_at(std::as_writable_bytes(std::span(text)), 0);
  EXPECT_TRUE(n.ok());
  text.resize(n.ok() ? *n : 0);
  return text;
}

class file_system_contract : public ::testing::TestWithParam<const char*> {
 protected:
  file_system_contract() {
    if (std::string_view(GetParam()) == "faulty") {
      faulty_ = std::make_unique<test::faulty_file_system>(temporary_.path());
    }
    root_ = fs().open_root(temporary_.path()).value();
  }

  os::file_system& fs() { return faulty_ != nullptr ? *faulty_ : os::posix_file_system(); }
  std::string real(std::string_view path) { return temporary_.path() + "/" + std::string(path); }
  void put(std::string_view path, std::string_view text) {
    const auto f = root_->open(path, open_mode::create).value();
    ASSERT_TRUE(f->truncate(0).ok());
    ASSERT_TRUE(f->write_at(bytes(text), 0).ok());
  }
  std::string get(std::string_view path) { return content(*root_->open(path, open_mode::read).value()); }

  test::temporary_directory temporary_;
  std::unique_ptr<test::faulty_file_system> faulty_;
  std::unique_ptr<os::directory> root_;
};

TEST_P(file_system_contract, reads_what_was_written_and_less_only_at_the_end) {
  const auto f = root_->open("a", open_mode::create).value();
  ASSERT_TRUE(f->write_at(bytes("hello"), 3).ok());
  EXPECT_EQ(content(*f), std::string("\0\0\0hello", 8));
  std::array<std::byte, 4> four;
  EXPECT_EQ(f->read_at(four, 6).value(), 2u);
  EXPECT_EQ(f->read_at(four, 8).value(), 0u);
  EXPECT_EQ(f->read_at(four, 1000).value(), 0u);
  ASSERT_TRUE(f->truncate(4).ok());
  EXPECT_EQ(f->status()->st_size, 4);
  ASSERT_TRUE(f->allocate(0, 2).ok());
  EXPECT_EQ(f->status()->st_size, 4);
  ASSERT_TRUE(f->allocate(0, 8192).ok());
  EXPECT_EQ(f->status()->st_size, 8192);
  EXPECT_TRUE(f->sync_data().ok());
}

TEST_P(file_system_contract, opens_as_the_mode_says) {
  EXPECT_TRUE(absl::IsNotFound(root_->open("a", open_mode::read).status()));
  EXPECT_TRUE(absl::IsNotFound(root_->open("a", open_mode::read_write).status()));
  EXPECT_TRUE(root_->open("a", open_mode::create_new, 0600).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(root_->open("a", open_mode::create_new).status()));
  EXPECT_EQ(root_->status("a")->st_mode & 07777, 0600u);
  const auto readable = root_->open("a", open_mode::read).value();
  EXPECT_FALSE(readable->write_at(bytes("x"), 0).ok());
  EXPECT_TRUE(root_->open("a", open_mode::create).ok());
}

TEST_P(file_system_contract, refuses_paths_that_break_the_rule) {
  put("a", "");
  ASSERT_TRUE(root_->make_directory("d").ok());
  for (const std::string_view path : {"", "/a", "/etc/passwd", "..", "../x", ".", "./a", "d/..", "d/../a",
                                      "d//a", "d/", "a/.", std::string_view("a\0b", 3).data()}) {
    const std::string_view p = path == "a" ? std::string_view("a\0b", 3) : path;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->open(p, open_mode::create).status())) << p;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->open_directory(p).status())) << p;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->make_directory(p))) << p;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->remove_file(p))) << p;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->rename("a", *root_, p))) << p;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->rename(p, *root_, "b"))) << p;
    EXPECT_TRUE(absl::IsInvalidArgument(root_->status(p).status())) << p;
  }
  EXPECT_FALSE(fs().open_root("relative").ok());
}

TEST_P(file_system_contract, never_follows_a_symlink_out_or_in) {
  ASSERT_TRUE(root_->make_directory("d").ok());
  put("d/inside", "x");
  ASSERT_TRUE(root_->make_symlink("/etc", "out").ok());
  ASSERT_TRUE(root_->make_symlink("d", "in").ok());
  ASSERT_TRUE(root_->make_symlink("d/inside", "file").ok());
  EXPECT_FALSE(root_->open("out/passwd", open_mode::read).ok());
  EXPECT_FALSE(root_->open("in/inside", open_mode::read).ok());
  EXPECT_FALSE(root_->open("file", open_mode::read).ok());
  EXPECT_FALSE(root_->open("file", open_mode::create).ok());
  EXPECT_FALSE(root_->open_directory("in").ok());
  EXPECT_FALSE(root_->remove_file("in/inside").ok());
  EXPECT_FALSE(root_->status("out/passwd").ok());
  EXPECT_EQ(root_->read_symlink("out").value(), "/etc");
  EXPECT_TRUE(S_ISLNK(root_->status("out")->st_mode));
}

TEST_P(file_system_contract, a_fifo_in_the_way_is_refused_without_blocking) {
  ASSERT_EQ(::mkfifo(real("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(root_->open("pipe", open_mode::read).ok());
  EXPECT_FALSE(root_->open("pipe", open_mode::create).ok());
}

TEST_P(file_system_contract, renames_in_three_ways) {
  put("a", "A");
  put("b", "B");
  EXPECT_TRUE(absl::IsAlreadyExists(root_->rename("a", *root_, "b", rename_mode::no_replace)));
  ASSERT_TRUE(root_->rename("a", *root_, "b", rename_mode::exchange).ok());
  EXPECT_EQ(get("a") + get("b"), "BA");
  ASSERT_TRUE(root_->rename("a", *root_, "b").ok());
  EXPECT_EQ(get("b"), "B");
  EXPECT_TRUE(absl::IsNotFound(root_->status("a").status()));
  EXPECT_TRUE(absl::IsNotFound(root_->rename("a", *root_, "c")));
  EXPECT_TRUE(absl::IsNotFound(root_->rename("b", *root_, "c", rename_mode::exchange)));
  ASSERT_TRUE(root_->make_directory("d").ok());
  const auto d = root_->open_directory("d").value();
  ASSERT_TRUE(root_->rename("b", *d, "moved").ok());
  EXPECT_EQ(get("d/moved"), "B");
}

TEST_P(file_system_contract, directories_links_and_removal) {
  ASSERT_TRUE(root_->make_directory("d", 0700).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(root_->make_directory("d")));
  EXPECT_TRUE(absl::IsNotFound(root_->make_directory("e/f")));
  put("d/a", "A");
  ASSERT_TRUE(root_->make_hard_link("d/a", *root_, "linked").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(root_->make_hard_link("d/a", *root_, "linked")));
  EXPECT_EQ(root_->status("linked")->st_ino, root_->status("d/a")->st_ino);
  EXPECT_FALSE(root_->remove_directory("d").ok());
  EXPECT_FALSE(root_->remove_file("d").ok());
  ASSERT_TRUE(root_->remove_file("d/a").ok());
  EXPECT_TRUE(absl::IsNotFound(root_->remove_file("d/a")));
  ASSERT_TRUE(root_->remove_directory("d").ok());
  EXPECT_EQ(get("linked"), "A");
  EXPECT_TRUE(root_->sync().ok());
  EXPECT_TRUE(fs().sync_file_system(*root_).ok());
}

TEST_P(file_system_contract, lists_every_entry_with_its_type_each_time) {
  put("file", "");
  ASSERT_TRUE(root_->make_directory("directory").ok());
  ASSERT_TRUE(root_->make_symlink("nowhere", "symlink").ok());
  for (int round = 0; round < 2; ++round) {
    std::vector<std::pair<std::string, mode_t>> seen;
    ASSERT_TRUE(root_
                    ->list([&](const os::directory_entry& e) {
                      seen.emplace_back(e.name, e.type);
                      return true;
                    })
                    .ok());
    EXPECT_THAT(seen, UnorderedElementsAre(std::pair("file", S_IFREG), std::pair("directory", S_IFDIR),
                                           std::pair("symlink", S_IFLNK)));
  }
  int visits = 0;
  ASSERT_TRUE(root_->list([&](const os::directory_entry&) { return ++visits < 2; }).ok());
  EXPECT_EQ(visits, 2);
}

TEST_P(file_system_contract, sets_mode_and_times_by_path_and_by_file) {
  put("a", "");
  ASSERT_TRUE(root_->set_mode("a", 0604).ok());
  ASSERT_TRUE(root_->set_times("a", {1, 0}, {1234567890, 42}).ok());
  ASSERT_TRUE(root_->set_owner("a", ::geteuid(), ::getegid()).ok());
  EXPECT_EQ(root_->status("a")->st_mode & 07777, 0604u);
  EXPECT_EQ(root_->status("a")->st_mtim.tv_sec, 1234567890);
  EXPECT_EQ(root_->status("a")->st_mtim.tv_nsec, 42);
  const auto f = root_->open("a", open_mode::read_write).value();
  ASSERT_TRUE(f->set_mode(0611).ok());
  ASSERT_TRUE(f->set_owner(::geteuid(), ::getegid()).ok());
  ASSERT_TRUE(f->set_times({1, 0}, {7, 0}).ok());
  EXPECT_EQ(f->status()->st_mode & 07777, 0611u);
  EXPECT_EQ(f->status()->st_mtim.tv_sec, 7);
}

TEST_P(file_system_contract, clones_a_file) {
  const std::string text(300'000, 'x');
  put("a", text);
  put("b", "something longer than nothing");
  const auto source = root_->open("a", open_mode::read).value();
  const auto target = root_->open("b", open_mode::read_write).value();
  ASSERT_TRUE(target->clone_from(*source).ok());
  EXPECT_EQ(static_cast<std::size_t>(target->status()->st_size), text.size());
  EXPECT_EQ(get("b"), text.substr(0, 1 << 16));
}

TEST_P(file_system_contract, a_copy_that_is_given_up_says_so) {
  const std::string text(300'000, 'x');
  put("a", text);
  const auto source = root_->open("a", open_mode::read).value();
  const auto target = root_->open("b", open_mode::create).value();
  std::uint64_t told = 0;
  const absl::Status status = target->clone_from(*source, [&](std::uint64_t done, std::uint64_t) {
    told = done;
    return false;
  });
  // Where blocks are shared nothing takes long enough to be told.
  EXPECT_EQ(status.code(), told != 0 ? absl::StatusCode::kCancelled : absl::StatusCode::kOk)
      << message_of(status);
}

TEST_P(file_system_contract, errors_name_operation_and_path) {
  const absl::Status missing = root_->open("nothing", open_mode::read).status();
  EXPECT_THAT(std::string(message_of(missing)), HasSubstr("open"));
  EXPECT_THAT(std::string(message_of(missing)), HasSubstr("/nothing"));
}

TEST_P(file_system_contract, makes_directories_and_replaces_files) {
  ASSERT_TRUE(os::make_directories(fs(), real("x/y/z")).ok());
  ASSERT_TRUE(os::make_directories(fs(), real("x/y/z/")).ok());
  ASSERT_TRUE(os::replace_file(*root_, "x/y/f", "one").ok());
  ASSERT_TRUE(os::replace_file(*root_, "x/y/f", "two", 0600).ok());
  EXPECT_EQ(get("x/y/f"), "two");
  EXPECT_EQ(root_->status("x/y/f")->st_mode & 07777, 0600u);
  put("file", "");
  EXPECT_FALSE(os::make_directories(fs(), real("file/below")).ok());
  int left = 0;
  ASSERT_TRUE(
      root_->open_directory("x/y").value()->list([&](const os::directory_entry&) { return ++left; }).ok());
  EXPECT_EQ(left, 2) << "a temporary file was left behind";
}

INSTANTIATE_TEST_SUITE_P(both, file_system_contract, ::testing::Values("posix", "faulty"),
                         [](const auto& parameter) { return std::string(parameter.param); });

// What only the faulty one has: the crash image. These check the checker.
class crash_image : public ::testing::Test {
 protected:
  std::string image(test::unsynced policy, std::uint64_t seed = 1) {
    images_.push_back(std::make_unique<test::temporary_directory>());
    EXPECT_TRUE(fs_.materialise(images_.back()->path(), policy, seed).ok());
    return images_.back()->path();
  }
  static std::string text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return "<none>";
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  test::temporary_directory real_;
  test::faulty_file_system fs_{real_.path()};
  std::unique_ptr<os::directory> root_ = fs_.open_root(real_.path()).value();
  std::vector<std::unique_ptr<test::temporary_directory>> images_;
};

TEST_F(crash_image, loses_what_was_not_synced) {
  const auto f = root_->open("a", open_mode::create).value();
  ASSERT_TRUE(f->write_at(bytes("one"), 0).ok());
  ASSERT_TRUE(f->sync_data().ok());
  EXPECT_EQ(text(image(test::unsynced::lost) + "/a"), "<none>") << "the directory was not synced";
  ASSERT_TRUE(root_->sync().ok());
  ASSERT_TRUE(f->write_at(bytes("two"), 0).ok());
  EXPECT_EQ(text(image(test::unsynced::lost) + "/a"), "one");
  EXPECT_EQ(text(image(test::unsynced::kept) + "/a"), "two");
  EXPECT_EQ(text(real_.path() + "/a"), "two") << "writes go through to the real file";
}

TEST_F(crash_image, keeps_any_subset_of_writes_and_tears_them) {
  const auto f = root_->open("a", open_mode::create).value();
  ASSERT_TRUE(root_->sync().ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(f->write_at(bytes(std::string(1024, 'a' + i)), i * 1024).ok());
  std::set<std::string> random;
  std::set<std::string> torn;
  for (int seed = 0; seed < 200; ++seed) {
    random.insert(text(image(test::unsynced::random, seed) + "/a"));
    torn.insert(text(image(test::unsynced::torn, seed) + "/a"));
  }
  EXPECT_EQ(random.size(), 16u);
  EXPECT_GT(torn.size(), 50u);
  EXPECT_EQ(text(image(test::unsynced::torn, 7) + "/a"), text(image(test::unsynced::torn, 7) + "/a"));
}

TEST_F(crash_image, directory_changes_survive_as_a_prefix) {
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(root_->open(name, open_mode::create).ok());
  ASSERT_TRUE(root_->rename("a", *root_, "d").ok());
  std::set<std::size_t> sizes;
  for (int seed = 0; seed < 100; ++seed) {
    const std::string at = image(test::unsynced::random, seed);
    std::set<std::string> names;
    for (const auto& e : std::filesystem::directory_iterator(at)) names.insert(e.path().filename().string());
    if (names.contains("d")) {
      EXPECT_FALSE(names.contains("a")) << "a rename is atomic";
    }
    if (names.contains("c")) {
      EXPECT_TRUE(names.contains("b")) << "order is kept";
    }
    sizes.insert(names.size());
  }
  EXPECT_EQ(sizes.size(), 4u);
}

TEST_F(crash_image, the_power_goes_at_the_chosen_point) {
  fs_.cut_power_at(2);
  const auto f = root_->open("a", open_mode::create).value();
  ASSERT_TRUE(root_->sync().ok());
  ASSERT_TRUE(f->write_at(bytes("x"), 0).ok());
  EXPECT_FALSE(f->sync_data().ok());
  EXPECT_TRUE(fs_.power_is_cut());
  EXPECT_FALSE(f->write_at(bytes("y"), 0).ok());
  EXPECT_FALSE(root_->open("b", open_mode::create).ok());
  EXPECT_FALSE(root_->status("a").ok());
  EXPECT_EQ(text(image(test::unsynced::lost) + "/a"), "");
  EXPECT_EQ(text(image(test::unsynced::kept) + "/a"), "x");
}

TEST_F(crash_image, an_operation_can_be_chosen_too) {
  const std::uint64_t before = fs_.operations();
  fs_.cut_power_at_operation(before + 2);
  const auto f = root_->open("a", open_mode::create).value();
  EXPECT_FALSE(f->write_at(bytes("x"), 0).ok());
  EXPECT_EQ(text(image(test::unsynced::kept) + "/a"), "");
}

}  // namespace
}  // namespace understudy
