// kill -9 of a process that applies, 200 times, while stock readers come, stay and go, and stand-ins start
// among them; and power cuts of a real filesystem under such a process (ext4 on a loop device).

#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>

#include "agent-failover/replica/database_copy.hpp"
#include "common/log/log.hpp"
#include "common/sqlite/database.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;

// Between the processes. The history is walked again and again; `lap` is odd while the copy is taken back to
// its start, when no statement about the marker holds.
struct shared_state {
  std::atomic<int> lap{0};
  std::atomic<int> acknowledged{-1};
  std::atomic<int> attempted{-1};
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::atomic<int> commits{0};
  std::atomic<int> new_files{0};
  std::atomic<bool> failed{false};
  char message[1000] = {};

  void fail(const std::string& text) {
    if (failed.exchange(true)) return;
    std::strncpy(message, text.c_str(), sizeof message - 1);
  }
};

class shared_memory {
 public:
  shared_memory() {
    void* const at =
        ::mmap(nullptr, sizeof(shared_state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) std::abort();
    state_ = new (at) shared_state;
  }
  ~shared_memory() { ::munmap(state_, sizeof(shared_state)); }
  shared_state& operator*() const { return *state_; }
  shared_state* operator->() const { return state_; }

 private:
  shared_state* state_ = nullptr;
};

pid_t in_child(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  work();
  ::_exit(0);
}

void wait_for(pid_t child) {
  ::waitpid(child, nullptr, 0);
}

void pause(std::chrono::microseconds duration) {
  const struct ::timespec t { duration.count() / 1'000'000, duration.count() % 1'000'000 * 1000 };
  ::nanosleep(&t, nullptr);
}

// Applies until it is killed.
absl::Status apply_for_ever(const std::string& place, const test::history& h, shared_state& s,
                            std::uint64_t seed, bool hand_over) {
  std::mt19937_64 random(seed);
  replica::copy_options options;
  options.fold_bytes = 128 << 10;
  options.spill_bytes = 30'000;
  options.exclusive_patience = std::chrono::milliseconds(2);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, os::posix_file_system().open_root(place));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto copy, database_copy::open(std::move(directory), "copy.db", options));
  const auto acknowledge = [&](int n) {
    s.acknowledged = n;
    ++s.commits;
  };
  const auto heal_to = [&](int n, heal_way way) -> absl::Status {
    // A heal may lead back from what was attempted and never acknowledged; until it is done, that may be
    // seen.
    s.attempted = std::max(s.attempted.load(), n);
    UNDERSTUDY_RETURN_IF_ERROR(test::heal(*copy, h, static_cast<std::size_t>(n), way));
    UNDERSTUDY_RETURN_IF_ERROR(copy->commit_durably());
    s.attempted = n;
    if (way == heal_way::new_file) ++s.new_files;
    acknowledge(n);
    return absl::OkStatus();
  };
  int n = h.find(copy->state().combined);
  if (s.lap % 2 == 0 && n >= 0 && n < s.acknowledged) {
    return absl::DataLossError(fmt::format("recovered state {}, acknowledged {}", n, s.acknowledged.load()));
  }
  if (n < 0) {  // nothing yet, or a stand-in wrote
    n = std::max(0, s.acknowledged.load());
    UNDERSTUDY_RETURN_IF_ERROR(heal_to(n, heal_way::in_place));
  }
  for (;;) {
    const int last = static_cast<int>(h.size());
    if (n + 10 > last || s.lap % 2 == 1) {
      if (s.lap % 2 == 0) ++s.lap;
      UNDERSTUDY_RETURN_IF_ERROR(heal_to(0, random() % 2 == 0 ? heal_way::new_file : heal_way::in_place));
      n = 0;
      ++s.lap;
    }
    const auto dice = random() % 100;
    if (dice < 4) {
      UNDERSTUDY_RETURN_IF_ERROR(heal_to(n += 5, heal_way::in_place));
    } else if (dice < 8) {
      UNDERSTUDY_RETURN_IF_ERROR(heal_to(n += 5, heal_way::new_file));
    } else if (dice < 10 && hand_over) {
      const absl::Status ready = copy->prepare_for_stand_in();
      if (ready.ok()) {
        // A reader may have come meanwhile; it goes again.
        absl::Status back;
        do {
          back = copy->resume();
        } while (absl::IsFailedPrecondition(back));
        UNDERSTUDY_RETURN_IF_ERROR(back);
      } else if (!absl::IsFailedPrecondition(ready)) {
        return ready;
      }
    } else {
      const int group = dice < 20 ? 3 : 1;
      s.attempted = n + group;
      for (int i = 0; i < group; ++i)
        UNDERSTUDY_RETURN_IF_ERROR(test::apply(*copy, h, static_cast<std::size_t>(++n)));
      UNDERSTUDY_RETURN_IF_ERROR(copy->commit_durably());
      acknowledge(n);
      UNDERSTUDY_RETURN_IF_ERROR(copy->fold_if_due());
    }
  }
}

// What a reader found, against what had been acknowledged when it began.
void judge(const test::finding& f, int lap, int acknowledged, shared_state& s, const char* who) {
  ++s.reads;
  if (lap % 2 == 1 || s.lap != lap) {
    if (!f.error.empty()) s.fail(fmt::format("{} (while going back): {}", who, f.error));
    return;
  }
  if (!f.error.empty()) s.fail(fmt::format("{}: {}", who, f.error));
  if (f.marker < acknowledged)
    s.fail(fmt::format("{}: sees {}, acknowledged {}", who, f.marker, acknowledged));
}

// True for a reader that came in the very instant in which a new file took the old one's place: the old one
// stays locked, and it has to open the database anew.
bool must_look_again(const test::finding& f) {
  return f.error.find("database is locked") != std::string::npos;
}

void visit(const std::string& path, const test::history& h, shared_state& s) {
  for (int i = 0; !s.stop; ++i) {
    const int lap = s.lap;
    const int acknowledged = s.acknowledged;
    if (acknowledged < 0) continue;
    auto d = sqlite::database::open(path, {.create = false, .busy_timeout_ms = 300});
    if (!d.ok()) return s.fail(std::string(message_of(d.status())));
    const test::finding f = test::inspect(*d, h, i % 8 == 0);
    if (!must_look_again(f)) judge(f, lap, acknowledged, s, "visitor");
  }
}

// Keeps its connection, and with it -shm, open and idle between its looks.
void stay(const std::string& path, const test::history& h, shared_state& s) {
  while (!s.stop) {
    if (s.acknowledged < 0) continue;
    {
      auto d = sqlite::database::open(path, {.create = false, .busy_timeout_ms = 300});
      if (!d.ok()) return s.fail(std::string(message_of(d.status())));
      for (int i = 0; i < 12 && !s.stop; ++i) {
        const int lap = s.lap;
        const int acknowledged = s.acknowledged;
        test::finding f = test::inspect(*d, h, i % 4 == 3);
        if (must_look_again(f)) break;
        judge(f, lap, acknowledged, s, "idle reader");
        pause(std::chrono::milliseconds(20));
      }
    }
    pause(std::chrono::milliseconds(150));
  }
}

void stand_in(const std::string& path, const test::history& h, shared_state& s) {
  const int acknowledged = s.acknowledged;
  const int lap = s.lap;
  for (;;) {
    auto d = sqlite::database::open(path, {.create = false, .busy_timeout_ms = 10000});
    if (!d.ok()) return s.fail(std::string(message_of(d.status())));
    const absl::Status wrote = d->execute(
        "CREATE TABLE IF NOT EXISTS s(x); INSERT INTO s VALUES(randomblob(2000));"
        "UPDATE marker SET n = n");
    if (!wrote.ok()) return s.fail(fmt::format("stand-in: {}", message_of(wrote)));
    break;
  }
  judge(test::inspect(path, h), lap, acknowledged, s, "stand-in");
}

TEST(replica_kill, loses_nothing_acknowledged_and_never_breaks) {
  const test::history h = test::make_history({.transactions = 300});
  const test::temporary_directory place(test::where::memory);
  const std::string path = place.path() + "/copy.db";
  const shared_memory s;
  const int cycles = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 5000 : 200;
  const pid_t visitor = in_child([&] { visit(path, h, *s); });
  const pid_t idle = in_child([&] { stay(path, h, *s); });
  std::mt19937_64 random(7);
  for (int cycle = 0; cycle < cycles && !s->failed; ++cycle) {
    const pid_t applier = in_child([&] {
      const absl::Status ended = apply_for_ever(place.path(), h, *s, static_cast<std::uint64_t>(cycle), true);
      s->fail(fmt::format("cycle {}: {}", cycle, message_of(ended)));
    });
    // The moment of death is what varies.
    pause(std::chrono::microseconds(1000 + random() % 25'000));
    ::kill(applier, SIGKILL);
    wait_for(applier);
    if (s->acknowledged < 0) continue;
    const test::finding f = test::inspect(path, h);
    judge(f, s->lap, s->acknowledged, *s, "after the kill");
    if (s->lap % 2 == 0 && f.error.empty()) {
      EXPECT_LE(f.marker, s->attempted);
    }
    // Killed within a switch to a new file, a copy belongs to nobody before it is opened again: a reader may
    // be left on the replaced file, and when it goes it deletes the -wal by name. A stand-in starts after
    // that.
    if (cycle % 10 == 9 && !std::filesystem::exists(path + "-heal"))
      wait_for(in_child([&] { stand_in(path, h, *s); }));
  }
  s->stop = true;
  wait_for(visitor);
  wait_for(idle);
  EXPECT_FALSE(s->failed) << s->message;
  fmt::print("{} commits acknowledged, {} new files, {} reads, {} laps\n", s->commits.load(),
             s->new_files.load(), s->reads.load(), s->lap.load() / 2);
  EXPECT_GT(s->commits, cycles / 10);  // a slow machine commits little between two kills
  EXPECT_GT(s->reads, cycles);
}

// Mounts made from here on are nobody else's, and go with the process. A mount namespace that another program
// makes meanwhile would hold a copy of the mount; the filesystem would outlive its unmounting, shut down as
// it is, and the next mount would find that one instead of the disk.
bool mount_in_private() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

// The power of a real filesystem goes while a process applies: EXT4_IOC_SHUTDOWN without flushing the
// journal.
TEST(replica_kill, a_real_filesystem_that_loses_power_keeps_what_was_acknowledged) {
  constexpr unsigned long shutdown_request = _IOR('X', 125, std::uint32_t);  // EXT4_IOC_SHUTDOWN
  constexpr std::uint32_t no_log_flush = 2;                                  // EXT4_GOING_FLAGS_NOLOGFLUSH
  const auto run = [](const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
  };
  const test::temporary_directory place;
  const std::string image = place.path() + "/disk";
  const std::string mounted = place.path() + "/mounted";
  std::filesystem::create_directory(mounted);
  const std::string mount = fmt::format("mount -o loop {} {}", image, mounted);
  const std::string unmount = fmt::format("umount {}", mounted);
  if (::geteuid() != 0 || !mount_in_private() ||
      !run(fmt::format("truncate -s 64M {0} && mkfs.ext4 -q -F {0}", image)) || !run(mount)) {
    GTEST_SKIP() << "needs root, a mount namespace, mkfs.ext4 and loop devices";
  }
  const test::history h = test::make_history({.transactions = 300});
  const shared_memory s;
  const int cycles = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 200 : 10;
  std::mt19937_64 random(11);
  for (int cycle = 0; cycle < cycles && !s->failed; ++cycle) {
    const int commits = s->commits;
    const pid_t applier = in_child([&] {
      const absl::Status ended = apply_for_ever(mounted, h, *s, static_cast<std::uint64_t>(cycle), true);
      if (ended.code() == absl::StatusCode::kDataLoss) s->fail(std::string(message_of(ended)));
    });
    // Every second time something was acknowledged, however slow the machine is; the others may be cut while
    // the applier recovers.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (cycle % 2 == 0 && s->commits == commits && std::chrono::steady_clock::now() < deadline)
      pause(std::chrono::milliseconds(1));
    pause(std::chrono::microseconds(random() % 60'000));
    const int fd = ::open(mounted.c_str(), O_RDONLY | O_DIRECTORY);
    const bool cut = ::ioctl(fd, shutdown_request, &no_log_flush) == 0;
    ::close(fd);
    ::kill(applier, SIGKILL);
    wait_for(applier);
    ASSERT_TRUE(run(unmount));
    if (!cut) GTEST_SKIP() << "the filesystem cannot be shut down";
    ASSERT_TRUE(run(mount));
    if (s->acknowledged < 0) continue;
    judge(test::inspect(mounted + "/copy.db", h), s->lap, s->acknowledged, *s, "after the power cut");
  }
  EXPECT_TRUE(run(unmount));
  EXPECT_FALSE(s->failed) << s->message;
  EXPECT_GE(s->commits, cycles / 2);
}

}  // namespace
}  // namespace understudy
