// A new generation takes the place of the copies of two databases, and the power fails at every sync point
// and at every operation of it. Afterwards both databases are of one generation, the old one or the new one,
// and stock SQLite opens them; what was reported as done is done.

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/server/generation.hpp"
#include "common/os/time_stamp.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

using channel::heal_way;
using test::unsynced;

constexpr int old_state = 10;
constexpr int new_state = 30;

const test::history& commits() {
  static const test::history h = test::make_history({.transactions = 40});
  return h;
}

v1::ServerSpec spec_of(const std::string& place) {
  v1::ServerSpec spec;
  spec.set_name("p1");
  spec.set_local_dir(place);
  spec.set_mode(v1::REPLICATION_MODE_WARM);
  for (const char* catalog : {"one", "two"}) {
    auto& database = *spec.add_databases();
    database.set_catalog(catalog);
    database.set_path(fmt::format("/data/{}.db", catalog));
  }
  return spec;
}

absl::Status fill(database_lane& lane, int from, int to) {
  return lane.held()->with([&](replica::database_copy& copy) -> absl::Status {
    if (from < 0) {
      UNDERSTUDY_RETURN_IF_ERROR(test::heal(copy, commits(), 0, heal_way::new_file));
      UNDERSTUDY_RETURN_IF_ERROR(copy.commit_durably());
    }
    for (int n = std::max(from, 0) + 1; n <= to; ++n) {
      UNDERSTUDY_RETURN_IF_ERROR(test::apply(copy, commits(), static_cast<std::size_t>(n)));
      UNDERSTUDY_RETURN_IF_ERROR(copy.commit_durably());
    }
    return absl::OkStatus();
  });
}

struct site {
  os::file_system& fs;
  v1::ServerSpec spec;
  copy_layout layout;
  std::vector<std::shared_ptr<database_lane>> live{};

  site(os::file_system& f, const std::string& place) : fs(f), spec(spec_of(place)), layout("/unused", spec) {
    for (const auto& database : spec.databases())
      live.push_back(std::make_shared<database_lane>(fs, "p1", database.catalog(),
                                                     layout.place_of(database.path()), false, [] {}));
  }
  absl::Status open() {
    UNDERSTUDY_RETURN_IF_ERROR(layout.prepare(fs, spec));
    UNDERSTUDY_RETURN_IF_ERROR(complete_generation(fs, layout, spec));
    for (auto& lane : live) UNDERSTUDY_RETURN_IF_ERROR(lane->open());
    return absl::OkStatus();
  }
  // A generation in which both databases are in state `to`, in use.
  absl::Status next(int to) {
    UNDERSTUDY_RETURN_IF_ERROR(begin_generation(fs, layout, spec));
    std::vector<finished_image> images;
    for (auto& lane : live) {
      database_lane made(fs, "p1", lane->name(), fmt::format("{}/{}.db", layout.next(), lane->name()), false,
                         [] {});
      UNDERSTUDY_RETURN_IF_ERROR(made.open());
      UNDERSTUDY_RETURN_IF_ERROR(fill(made, -1, to));
      UNDERSTUDY_ASSIGN_OR_RETURN(finished_image image,
                                  made.finish([](std::uint64_t, std::uint64_t) { return true; }));
      images.push_back(std::move(image));
    }
    return put_in_use(fs, layout, live, std::move(images));
  }
};

class generation : public testing::TestWithParam<bool> {
 protected:
  // Whether a generation was in use before; else there was no copy at all.
  static bool first() { return GetParam(); }

  // Returns how far the file system had got when all was done.
  void run(const std::function<void(test::faulty_file_system&)>& arm, std::uint64_t seed,
           std::uint64_t* sync_points = nullptr, std::uint64_t* operations = nullptr) {
    const test::temporary_directory real(test::where::memory);
    {
      site before(os::posix_file_system(), real.path());
      ASSERT_TRUE(before.open().ok());
      if (!first()) {
        const absl::Status made = before.next(old_state);
        ASSERT_TRUE(made.ok()) << message_of(made);
      }
    }
    test::faulty_file_system fs(real.path());
    arm(fs);
    absl::Status done;
    {
      site now(fs, real.path());
      done = now.open();
      if (done.ok()) done = now.next(new_state);
    }
    ASSERT_TRUE(done.ok() || fs.power_is_cut()) << message_of(done);
    if (sync_points != nullptr) *sync_points = fs.sync_points();
    if (operations != nullptr) *operations = fs.operations();
    for (const auto policy : {unsynced::lost, unsynced::kept, unsynced::random, unsynced::torn}) {
      const test::temporary_directory image(test::where::memory);
      ASSERT_TRUE(fs.materialise(image.path(), policy, seed).ok());
      SCOPED_TRACE(fmt::format("policy {}, seed {}, done {}", static_cast<int>(policy), seed, done.ok()));
      site after(os::posix_file_system(), image.path());
      const absl::Status opened = after.open();
      ASSERT_TRUE(opened.ok()) << message_of(opened);
      after.live.clear();
      std::vector<std::int64_t> markers;
      for (const auto& database : after.spec.databases()) {
        const std::string path = after.layout.place_of(database.path());
        if (!std::filesystem::exists(path)) {
          ASSERT_TRUE(first() && !done.ok());
          markers.push_back(-1);
          continue;
        }
        const test::finding found = test::inspect(path, commits());
        ASSERT_EQ(found.error, "");
        markers.push_back(found.marker);
      }
      ASSERT_EQ(markers[0], markers[1]);
      ASSERT_TRUE(markers[0] == new_state || (!done.ok() && markers[0] == (first() ? -1 : old_state)))
          << markers[0];
      std::ifstream in_use(after.layout.directory() + "/generation");
      const auto record = parse_generation(std::string(std::istreambuf_iterator<char>(in_use), {}));
      ASSERT_EQ(record.ok(), markers[0] >= 0);
      if (record.ok()) {
        ASSERT_EQ(record->members[1].hash, commits().registers[static_cast<std::size_t>(markers[0])]);
      }
      ASSERT_FALSE(std::filesystem::exists(after.layout.next() + "/generation"));
      if (done.ok() && !first()) {
        // What was replaced is there still, whole.
        int kept = 0;
        for (const auto& entry :
             std::filesystem::recursive_directory_iterator(after.layout.directory() + "/generations")) {
          if (entry.path().extension() != ".db") continue;
          ++kept;
          const test::finding found = test::inspect(entry.path().string(), commits());
          ASSERT_EQ(found.error, "");
          ASSERT_EQ(found.marker, old_state);
        }
        ASSERT_EQ(kept, 2);
      }
    }
  }
};

// By default every third operation; the sync points are all tried.
TEST_P(generation, power_cut_at_every_sync_point) {
  std::uint64_t last = 0;
  ASSERT_NO_FATAL_FAILURE(run([](auto&) {}, 1, &last));
  ASSERT_GT(last, 40u);
  for (std::uint64_t n = 1; n <= last; ++n) {
    SCOPED_TRACE(fmt::format("sync point {} of {}", n, last));
    ASSERT_NO_FATAL_FAILURE(run([&](auto& fs) { fs.cut_power_at(n); }, n));
  }
}

TEST_P(generation, power_cut_at_operations) {
  std::uint64_t last = 0;
  ASSERT_NO_FATAL_FAILURE(run([](auto&) {}, 1, nullptr, &last));
  const std::uint64_t step = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 1 : 5;
  for (std::uint64_t n = 1; n <= last; n += step) {
    SCOPED_TRACE(fmt::format("operation {} of {}", n, last));
    ASSERT_NO_FATAL_FAILURE(run([&](auto& fs) { fs.cut_power_at_operation(n); }, n));
  }
}

// What was replaced cannot be put away: the new generation is in use all the same, says so, and takes the
// changes that follow; the next one puts away what is left, and so does a start.
TEST(generation_left_over, is_put_away_later) {
  const test::temporary_directory real(test::where::memory);
  const std::string earlier = real.path() + "/generations";
  {
    site here(os::posix_file_system(), real.path());
    ASSERT_TRUE(here.open().ok());
    ASSERT_TRUE(here.next(old_state).ok());
    std::filesystem::remove_all(earlier);
    std::ofstream(earlier) << "in the way";
    const absl::Status used = here.next(new_state);
    ASSERT_TRUE(used.ok()) << message_of(used);
    ASSERT_TRUE(fill(*here.live[0], new_state, new_state + 1).ok());
    EXPECT_FALSE(begin_generation(here.fs, here.layout, here.spec).ok());
  }
  {
    site again(os::posix_file_system(), real.path());
    EXPECT_FALSE(again.open().ok());  // it says why
    std::filesystem::remove(earlier);
    ASSERT_TRUE(again.open().ok());
    again.live.clear();
    EXPECT_EQ(test::inspect(again.layout.place_of("/data/one.db"), commits()).marker, new_state + 1);
    EXPECT_EQ(test::inspect(again.layout.place_of("/data/two.db"), commits()).marker, new_state);
    EXPECT_TRUE(std::filesystem::exists(earlier));
    EXPECT_FALSE(std::filesystem::exists(again.layout.next() + "/exchanged"));
  }
  site here(os::posix_file_system(), real.path());
  ASSERT_TRUE(here.open().ok());
  std::filesystem::remove_all(earlier);
  std::ofstream(earlier) << "in the way";
  ASSERT_TRUE(here.next(new_state + 2).ok());
  std::filesystem::remove(earlier);
  const absl::Status next = here.next(new_state + 3);
  EXPECT_TRUE(next.ok()) << message_of(next);
}

// kill -9 of a process that makes one generation after the other.
TEST(generation_kills, both_databases_are_of_one_generation) {
  const int cycles = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 1000 : 40;
  const test::temporary_directory real(test::where::memory);
  auto* const done = static_cast<std::atomic<int>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(done, MAP_FAILED);
  new (done) std::atomic<int>(-1);
  auto* const begun = new (done + 1) std::atomic<int>(-1);
  std::mt19937 random(20261122);
  (void)commits();
  int changes = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    SCOPED_TRACE(fmt::format("cycle {}", cycle));
    const int before = *done;
    const ::pid_t child = ::fork();
    if (child == 0) {
      site here(os::posix_file_system(), real.path());
      if (!here.open().ok()) ::_exit(1);
      for (int to = std::max(before, begun->load()) + 1;; ++to) {
        *begun = to;
        if (!here.next(to % 40).ok()) ::_exit(2);
        *done = to;
      }
    }
    ::usleep(3000 + random() % 60'000);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "exit " << WEXITSTATUS(status);
    changes += *done - before;
    site after(os::posix_file_system(), real.path());
    const absl::Status opened = after.open();
    ASSERT_TRUE(opened.ok()) << message_of(opened);
    after.live.clear();
    if (*done < 0 && !std::filesystem::exists(real.path() + "/root/data/two.db")) continue;
    std::vector<std::int64_t> markers;
    for (const auto& database : after.spec.databases()) {
      const test::finding found = test::inspect(after.layout.place_of(database.path()), commits());
      ASSERT_EQ(found.error, "");
      markers.push_back(found.marker);
    }
    ASSERT_EQ(markers[0], markers[1]);
    // The last one that was in use, or one that was decided upon after it.
    bool fits = false;
    for (int n = std::max(0, done->load()); n <= *begun; ++n) fits = fits || markers[0] == n % 40;
    ASSERT_TRUE(fits) << markers[0] << " after " << *done << ", begun " << *begun;
  }
  fmt::print("{} kills, {} generations\n", cycles, changes);
  EXPECT_GT(changes, 0);
  ::munmap(done, 4096);
}

INSTANTIATE_TEST_SUITE_P(over, generation, testing::Values(true, false),
                         [](const auto& p) { return p.param ? "nothing" : "an_earlier_one"; });

TEST(generation_record, says_what_it_was_told) {
  generation_record record;
  record.verified_at = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'795'000'000'123));
  record.members = {{"ctserver", 4096, 1234, {0x0123456789abcdef, 42}}, {"a-b.c", 512, 1, {}}};
  const auto parsed = parse_generation(encode(record));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, record);
  const std::string text = encode(record);
  for (std::size_t n = 0; n + 1 < text.size(); ++n)
    EXPECT_FALSE(parse_generation(text.substr(0, n)).ok()) << text.substr(0, n);
}

TEST(generation_record, only_the_newest_earlier_ones_stay) {
  const test::temporary_directory real(test::where::memory);
  site here(os::posix_file_system(), real.path());
  ASSERT_TRUE(here.open().ok());
  for (const int state : {1, 2, 3, 4}) {
    const absl::Status made = here.next(state);
    ASSERT_TRUE(made.ok()) << message_of(made);
    // The next one's stamp is in seconds.
    std::string name = os::time_stamp(std::chrono::system_clock::now());
    while (os::time_stamp(std::chrono::system_clock::now()) == name) ::usleep(10'000);
  }
  std::size_t kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(real.path() + "/generations"))
    kept += entry.is_directory();
  EXPECT_LE(kept, static_cast<std::size_t>(kept_generations_sharing));
  EXPECT_GE(kept, 1u);
  if (!shares_blocks(os::posix_file_system(), here.layout)) {
    EXPECT_EQ(kept, 1u);
  }
}

}  // namespace
}  // namespace understudy::server
