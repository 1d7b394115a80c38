// What a sender takes from a receiver that lies about what it has: a refusal at the latest by the end of that
// stream, never a crash, and whatever was believed, the next stream makes both trees the same.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "tests/support/files_pair.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

class lying_receiver {
 public:
  explicit lying_receiver(unsigned seed) : random_(seed) {}

  // Some of what is said, and some things nobody would say.
  void falsify(v1::FilesSinkMessage& said) {
    if (said.has_listing() && rarely()) {
      said.mutable_listing()->set_complete(!said.listing().complete());
      if (pick(2) == 0) said.mutable_listing()->add_entries()->set_path(path());
    }
    if (!said.has_directories()) return;
    v1::FileDirectories& answer = *said.mutable_directories();
    for (v1::FileDirectoryListing& part : *answer.mutable_listings()) {
      if (pick(3) == 0) falsify(part);
    }
    if (rarely()) answer.add_listings()->set_path(path());
    if (rarely() && answer.listings_size() > 0) {
      const v1::FileDirectoryListing again = answer.listings(static_cast<int>(pick(answer.listings_size())));
      *answer.add_listings() = again;
    }
    if (rarely() && answer.listings_size() > 0) answer.mutable_listings()->RemoveLast();
  }
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

 private:
  bool rarely() { return pick(10) == 0; }

  void falsify(v1::FileDirectoryListing& part) {
    switch (pick(9)) {
      case 0:
        return part.set_same(!part.same());
      case 1:
        return part.set_complete(!part.complete());
      case 2:
        return part.set_path(path());
      case 3:
        return part.clear_entries();
      case 4:
        return invent(part);
      default:
        if (part.entries_size() == 0) return invent(part);
        return falsify(*part.mutable_entries(pick(part.entries_size())));
    }
  }
  void invent(v1::FileDirectoryListing& part) {
    v1::FileEntry& e = *part.add_entries();
    e.set_path(pick(3) == 0 ? path() : part.path().empty() ? "invented" : part.path() + "/invented");
    e.set_kind(static_cast<v1::FileKind>(pick(5)));
    e.set_mode(0755);
    if (pick(2) == 0) e.set_below(std::string(16, 'x'));
  }
  void falsify(v1::FileEntry& e) {
    switch (pick(8)) {
      case 0:
        return e.set_path(path());
      case 1:
        return e.set_kind(static_cast<v1::FileKind>(pick(6)));
      case 2:
        return e.set_size(std::uint64_t{random_()} << pick(33));
      case 3:
        return e.set_mode(static_cast<std::uint32_t>(random_()));
      case 4:
        return e.set_below(std::string(static_cast<std::size_t>(pick(20)), 'x'));
      case 5:
        return e.set_hard_link_leader(path());
      case 6:
        return e.mutable_modified_at()->set_nanos(static_cast<std::int32_t>(random_()));
      default:
        return e.set_symlink_target(path());
    }
  }
  std::string path() {
    static const std::vector<std::string> paths{"",
                                                ".",
                                                "..",
                                                "/etc",
                                                "a/../../b",
                                                "a",
                                                "a/b",
                                                "a/b/c",
                                                "b",
                                                "b/c",
                                                "c",
                                                std::string("a\0b", 3),
                                                std::string(300, 'l'),
                                                std::string(5000, 'p')};
    return paths[static_cast<std::size_t>(pick(static_cast<int>(paths.size())))];
  }

  std::mt19937 random_;
};

// Each content has a length of its own: metadata always tell that there is another one.
class small_changes {
 public:
  small_changes(file_pair& pair, lying_receiver& random) : pair_(pair), random_(random) {}

  void one() {
    std::error_code ignored;
    const std::string a = pair_.at(name());
    const std::string b = pair_.at(name());
    switch (random_.pick(8)) {
      case 0:
        fs::remove_all(a, ignored);
        return;
      case 1:
        fs::rename(a, b, ignored);
        return;
      case 2:
        fs::create_hard_link(a, b, ignored);
        return;
      case 3:
        fs::permissions(a, fs::perms::owner_all, ignored);
        return;
      case 4:
        fs::create_symlink("elsewhere", a, ignored);
        return;
      default:
        fs::create_directories(fs::path(a).parent_path(), ignored);
        std::ofstream(a) << std::string(++length_, 'x');
    }
  }

 private:
  std::string name() {
    std::string made(1, static_cast<char>('a' + random_.pick(3)));
    for (int depth = random_.pick(3); depth > 0; --depth)
      made += std::string("/") + static_cast<char>('a' + random_.pick(3));
    return made;
  }

  file_pair& pair_;
  lying_receiver& random_;
  std::size_t length_ = 0;
};

TEST(files_lying_receiver, is_refused_or_believed_and_the_next_stream_ends_equal) {
  const bool soak = std::getenv("UNDERSTUDY_SOAK") != nullptr;
  lying_receiver liar(7);
  file_pair pair;
  small_changes changes(pair, liar);
  for (int i = 0; i < 200; ++i) changes.one();
  pair.connect();
  pair.expect_same();
  int refused = 0;
  for (int round = 0; round < (soak ? 20'000 : 400) && !::testing::Test::HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    pair.disconnect();
    if (liar.pick(2) == 0) pair.source.reset();
    for (int i = liar.pick(10); i > 0; --i) changes.one();
    pair.falsify = [&](v1::FilesSinkMessage& said) { liar.falsify(said); };
    pair.connect();
    for (int steps = 0; steps < 12; ++steps) {
      bool moved = false;
      if (pair.step(moved).ok()) continue;
      ++refused;
      break;
    }
    pair.falsify = nullptr;
    pair.connect();
    pair.expect_same();
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace understudy::test
