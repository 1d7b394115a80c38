// What a receiver of files takes from a hostile sender while somebody else swaps directories of the copy for
// symlinks that lead out: nothing outside may be written, read or linked, and nothing may crash.

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <string_view>
#include <thread>

#include "agent-failover/replica/tree/file_sink_session.hpp"
#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "common/files/digest.hpp"
#include "common/os/unique_fd.hpp"
#include "tests/support/files_pair.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

const std::string only_outside = "not in the copy";
const std::string secret = "what lies outside " + std::string(200, 's');

// Two names for one place, exchanged without a pause: a directory of the copy, and a symlink that leads out.
class flipper {
 public:
  flipper(std::string tree, std::string outside)
      : tree_(std::move(tree)), outside_(std::move(outside)), thread_([this] { run(); }) {}
  ~flipper() {
    over_ = true;
    thread_.join();
  }
  std::uint64_t flips() const { return flips_; }

 private:
  void run() {
    const std::vector<std::string> ways{"d", "d/e", "d/e/f"};
    for (std::size_t i = 0; !over_; ++i) {
      const std::size_t depth = i % ways.size();
      const std::string way = tree_ + "/" + ways[depth];
      const std::string link = tree_ + "/../swap" + std::to_string(depth);
      // Absolute, or relative to where it will stand.
      std::string target = i % 2 == 0 ? outside_ : "outside";
      for (std::size_t up = i % 2 == 0 ? 0 : depth + 3; up > 0; --up) target = "../" + target;
      (void)::unlink(link.c_str());
      if (::symlink(target.c_str(), link.c_str()) != 0) continue;
      const auto exchange = [&] {
        return ::syscall(SYS_renameat2, AT_FDCWD, link.c_str(), AT_FDCWD, way.c_str(), RENAME_EXCHANGE) == 0;
      };
      if (!exchange()) {
        std::error_code ignored;  // the sender took it away, or put something else there
        fs::remove_all(way, ignored);
        fs::create_directories(way, ignored);
        std::ofstream(way + "/secret") << "not it";
        continue;
      }
      ++flips_;
      (void)exchange();
      std::error_code ignored;
      fs::remove_all(link, ignored);
    }
  }

  const std::string tree_;
  const std::string outside_;
  std::atomic<bool> over_{false};
  std::atomic<std::uint64_t> flips_{0};
  std::thread thread_;
};

// Messages that no honest sender sends, and honest ones between them.
class hostile_sender {
 public:
  explicit hostile_sender(unsigned seed) : random_(seed) {}

  v1::FilesSourceMessage next() {
    v1::FilesSourceMessage message;
    switch (pick(17)) {
      case 16:
        return directories();
      case 0:
        for (std::size_t n = pick(20); n > 0; --n) message.mutable_question()->add_paths(path());
        message.mutable_question();
        return message;
      case 1:
        message.mutable_blocks_question()->set_path(path());
        message.mutable_blocks_question()->set_block_bytes(rarely() ? number32() : 64 * 1024);
        return message;
      case 2:
      case 3:
        chunk(*message.mutable_chunk());
        return message;
      case 4:
        message.mutable_in_step()->set_sequence(rarely() ? number() : 0);
        message.mutable_in_step()->set_entries(number());
        message.mutable_in_step()->mutable_memory()->set_root(bytes(40));
        message.mutable_in_step()->mutable_memory()->mutable_in_step_until()->set_seconds(
            static_cast<std::int64_t>(number()));
        return message;
      case 5:
        message.mutable_progress()->set_files_total(number());
        return message;
      default:
        for (std::size_t n = 1 + pick(4); n > 0; --n) change(*message.mutable_batch()->add_changes());
        return message;
    }
  }
  v1::FilesSourceMessage directories() {
    v1::FilesSourceMessage message;
    for (std::size_t n = pick(rarely() ? 2000 : 6); n > 0; --n) {
      v1::FileDirectory& asked = *message.mutable_directories_question()->add_directories();
      asked.set_path(pick(4) == 0 ? "" : pick(8) == 0 ? path() : honest_path());
      if (pick(2) == 0) asked.set_digest(bytes(rarely() ? 20 : 16));
    }
    message.mutable_directories_question();
    return message;
  }
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  bool rarely() { return pick(10) == 0; }

 private:
  std::uint64_t number() {
    switch (pick(4)) {
      case 0:
        return pick(1000);
      case 1:
        return std::uint64_t{1} << pick(64);
      case 2:
        return ~(std::uint64_t{1} << pick(64));
      default:
        return std::uint64_t{random_()} << 32 | random_();
    }
  }
  std::uint32_t number32() { return static_cast<std::uint32_t>(number()); }
  std::string bytes(std::size_t most) {
    std::string made(pick(most + 1), '\0');
    for (char& c : made) c = static_cast<char>(random_());
    return made;
  }
  std::string honest_path() {
    static const std::vector<std::string> honest{"d/secret", "d/e/secret", "d/e/f/secret", "d/new",
                                                 "d/e/new",  "d/e/f/new",  "d/e/f",        "d/e",
                                                 "d",        "x",          "x/y"};
    return honest[pick(honest.size())];
  }
  std::string path() {
    if (pick(3) != 0) return honest_path();
    static const std::vector<std::string> parts{"..",
                                                ".",
                                                "",
                                                "d",
                                                "e",
                                                "x",
                                                "outside",
                                                "secret",
                                                "link",
                                                std::string("\0n", 2),
                                                std::string(255, 'l'),
                                                std::string(256, 'l'),
                                                std::string(4096, 'p'),
                                                "caf\xE9\xff\n",
                                                ".understudy-staging",
                                                ".understudy-trash",
                                                "/"};
    std::string made = pick(8) == 0 ? "/" : "";
    for (std::size_t n = pick(rarely() ? 80 : 5); n > 0; --n) made += parts[pick(parts.size())] + "/";
    made += parts[pick(parts.size())];
    return pick(20) == 0 ? bytes(100) : made;
  }
  std::string content() { return pick(4) == 0 ? bytes(3000) : "hostile"; }
  void entry(v1::FileEntry& e, std::size_t size) {
    e.set_path(path());
    e.set_kind(rarely() ? static_cast<v1::FileKind>(pick(6)) : v1::FILE_KIND_REGULAR);
    if (pick(4) == 0) e.set_kind(pick(2) == 0 ? v1::FILE_KIND_DIRECTORY : v1::FILE_KIND_SYMLINK);
    e.set_mode(rarely() ? number32() : 0755);
    e.set_size(rarely() ? number() : size);
    if (e.kind() == v1::FILE_KIND_SYMLINK || rarely())
      e.set_symlink_target(pick(2) == 0 ? "../outside" : path());
    if (rarely()) e.set_digest(bytes(20));
    if (rarely()) (*e.mutable_xattrs())["user.x"] = bytes(100);
    if (rarely()) (*e.mutable_xattrs())[pick(2) == 0 ? "trusted.x" : "security.capability"] = bytes(20);
    if (pick(3) == 0) {
      e.mutable_modified_at()->set_seconds(static_cast<std::int64_t>(rarely() ? number() : pick(1'000'000)));
      e.mutable_modified_at()->set_nanos(static_cast<std::int32_t>(number32()));
    }
  }
  void chunk(v1::FileChunk& c) {
    c.set_upload(pick(18));
    c.set_offset(rarely() ? number() : pick(3) * 4);
    if (pick(3) != 0) c.set_content(content());
    if (pick(3) == 0) entry(*c.mutable_entry(), 100);
    // What is there under that name, as if it were the sender's own: it must not be what lies outside.
    if (pick(3) == 0) c.set_present(rarely() ? number() : pick(300));
    if (rarely()) c.set_uncompressed(number32());
  }
  void change(v1::FileChange& made) {
    switch (pick(8)) {
      case 0:
        made.mutable_remove()->set_path(path());
        return;
      case 1:
        made.mutable_rename()->set_from(path());
        made.mutable_rename()->set_to(path());
        return;
      case 2:
        made.mutable_link()->set_existing(path());
        made.mutable_link()->set_path(path());
        return;
      case 3: {
        v1::FileAppend& append = *made.mutable_append();
        append.set_content(content());
        append.set_offset(rarely() ? number() : pick(2) == 0 ? 7 : secret.size());
        entry(*append.mutable_entry(), append.offset() + append.content().size());
        return;
      }
      case 4:
        entry(*made.mutable_attributes(), pick(2) == 0 ? 7 : secret.size());
        return;
      default: {
        v1::FilePut& put = *made.mutable_put();
        put.set_content(content());
        entry(*put.mutable_entry(), put.content().size());
        if (pick(4) == 0) put.set_upload(pick(18));
        if (rarely()) put.set_zstd(true);
        return;
      }
    }
  }

  std::mt19937 random_;
};

// Only what was written is read: a size that lied leaves holes of terabytes.
bool holds_secret(const std::string& path) {
  const os::unique_fd file{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  const std::string wanted = secret.substr(0, 60);
  std::string read(1 << 20, '\0');
  off_t at = ::lseek(file.value(), 0, SEEK_DATA);
  while (at >= 0) {
    const ssize_t got = ::pread(file.value(), read.data(), read.size(), at);
    if (got <= 0) return false;
    if (std::string_view(read).substr(0, static_cast<std::size_t>(got)).find(wanted) != std::string::npos)
      return true;
    if (got < static_cast<ssize_t>(wanted.size())) return false;
    at = ::lseek(file.value(), at + got - static_cast<ssize_t>(wanted.size()) + 1, SEEK_DATA);
  }
  return false;
}

bool contains_secret(const std::string& directory) {
  for (const auto& found : fs::recursive_directory_iterator(directory)) {
    if (found.is_symlink() || !found.is_regular_file()) continue;  // never asked where a link leads
    if (holds_secret(found.path())) return true;
  }
  return false;
}

struct guarded {
  std::string path;
  struct ::stat before {};
};

struct round_figures {
  std::uint64_t flips = 0;
  std::uint64_t refused = 0;
  std::uint64_t streams = 0;
};

// One tree, one sender. The tree grows with the cases, and each stream begins with reading all of it.
void run_round(unsigned seed, int cases, round_figures& figures) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto directory = directory_in_memory();
  const std::string outside = directory->path() + "/outside";
  const std::string tree = directory->path() + "/root/copy/tree";
  fs::create_directories(outside + "/e/f");
  fs::create_directories(tree + "/d/e/f");
  std::vector<guarded> guards;
  for (const char* name : {"", "/e", "/e/f"}) {
    std::ofstream(outside + name + "/secret") << secret;
    std::ofstream(outside + name + "/" + only_outside) << secret;
    guards.push_back({.path = outside + name + "/secret"});
    guards.push_back({.path = outside + name});
  }
  for (guarded& one : guards) ASSERT_EQ(::lstat(one.path.c_str(), &one.before), 0);
  const std::string secret_digest = files::to_bytes(files::digest_of(secret));

  files::tree_sink_options options{.tree = tree,
                                   .beside = directory->path() + "/root",
                                   .name = "files-0",
                                   .what = everything_in("/base"),
                                   .trash = {.bytes = 1 << 20},
                                   .feed = nullptr};
  hostile_sender sender(seed);
  std::uint64_t refused = 0;
  std::uint64_t streams = 0;
  std::uint64_t answers_of_outside = 0;
  std::uint64_t listed = 0;
  bool begun = false;
  {
    const flipper flips(tree, outside);
    std::shared_ptr<files::file_tree_sink> sink;
    std::unique_ptr<files::file_sink_session> session;
    std::uint64_t sequence = 0;
    const auto hear = [&](v1::FilesSinkMessage&& said) {
      const auto hear_entry = [&](const v1::FileEntry& e) {
        if (e.path().find(only_outside) != std::string::npos) ++answers_of_outside;
      };
      for (const v1::FileEntry& e : said.listing().entries()) hear_entry(e);
      for (const v1::FileDirectoryListing& d : said.directories().listings()) {
        listed += static_cast<std::uint64_t>(d.entries_size());
        for (const v1::FileEntry& e : d.entries()) hear_entry(e);
      }
      refused += said.has_refusal() ? 1 : 0;
      for (const std::string& d : said.digests().digests()) answers_of_outside += d == secret_digest ? 1 : 0;
      if (said.blocks().hashes().find(secret_digest) != std::string::npos) ++answers_of_outside;
    };
    for (int i = 0; i < cases; ++i) {
      if (session == nullptr) {
        ++streams;
        sequence = 0;
        if (sink == nullptr || streams % 64 == 0) {
          sink.reset();
          auto opened = files::file_tree_sink::open(os::posix_file_system(), options);
          ASSERT_TRUE(opened.ok()) << message_of(opened.status());
          sink = *std::move(opened);
        }
        session = std::make_unique<files::file_sink_session>(*sink, hear);
        begun = streams % 16 == 0 && session->start().ok();  // fails where a directory is a symlink just now
      }
      v1::FilesSourceMessage message = begun && sender.pick(4) != 0 ? sender.directories() : sender.next();
      if (message.has_batch()) {  // to touch the batch of another message would make it one
        for (v1::FileChange& change : *message.mutable_batch()->mutable_changes())
          change.set_sequence(sender.pick(200) == 0 ? 0 : ++sequence);
      }
      absl::Status taken = session->receive(std::move(message));
      if (taken.ok() && i % 4 == 0) taken = session->flush();
      if (!taken.ok()) session.reset();
    }
    EXPECT_GT(flips.flips(), 20U);
    figures.flips += flips.flips();
  }
  figures.refused += refused;
  figures.streams += streams;
  EXPECT_GT(refused, 0U);
  EXPECT_GT(listed, 0U);
  EXPECT_EQ(answers_of_outside, 0U);
  for (const guarded& one : guards) {
    struct ::stat now {};
    ASSERT_EQ(::lstat(one.path.c_str(), &now), 0) << one.path;
    // The time of change is set by whatever is done to an entry, and cannot be put back.
    EXPECT_EQ(files::to_nanoseconds(now.st_ctim), files::to_nanoseconds(one.before.st_ctim)) << one.path;
    EXPECT_EQ(now.st_nlink, one.before.st_nlink) << one.path;
    EXPECT_EQ(now.st_size, one.before.st_size) << one.path;
  }
  EXPECT_FALSE(contains_secret(tree));
  EXPECT_FALSE(contains_secret(directory->path() + "/root"));
  std::size_t beside = 0;
  for (const auto& found : fs::directory_iterator(directory->path() + "/root")) {
    const std::string name = found.path().filename();
    EXPECT_TRUE(name == "copy" || name == ".understudy-staging" || name == ".understudy-trash") << name;
    ++beside;
  }
  EXPECT_EQ(beside, 3U);
}

TEST(files_hostile, nothing_outside_the_copy_is_touched_read_or_linked_while_symlinks_flip) {
  const bool soak = std::getenv("UNDERSTUDY_SOAK") != nullptr;
  const int rounds = soak ? 100 : 1;
  const int cases = soak ? 10'000 : 5'000;
  const unsigned seed = soak ? std::random_device{}() % 1'000'000 : 7;
  round_figures all;
  for (int n = 0; n < rounds && !HasFailure(); ++n) run_round(seed + static_cast<unsigned>(n), cases, all);
  fmt::print("{} cases, {} flips, {} refused, {} streams; seeds {} to {}\n", rounds * cases, all.flips,
             all.refused, all.streams, seed, seed + static_cast<unsigned>(rounds) - 1);
}

}  // namespace
}  // namespace understudy::test
