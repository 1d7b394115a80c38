// Files: one file at a time in a tree of 10,000, a burst of 10,000 new ones, and a restart over many
// unchanged ones. A real agent, gRPC on loopback, both trees on the disk of $TMPDIR.
//   files_bench [unchanged files [changes|restart]]

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "common/os/unique_fd.hpp"
#include "tests/bench/agent_process.hpp"
#include "tests/bench/disk_floor.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/files_link.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::bench {
namespace {

namespace fs = std::filesystem;

constexpr int tree_files = 10'000;
constexpr int latency_samples = 300;
constexpr int goal_files = 1'000'000;  // fewer say nothing about that goal
constexpr std::chrono::microseconds look_every{50};

// The acknowledgements of the file before, its directory's included, must not count for the next one.
std::uint64_t durable_when_quiet(const files_link& link) {
  std::uint64_t durable = 0;
  auto quiet_since = clock::now();
  while (milliseconds_since(quiet_since) < 30) {
    if (const std::uint64_t now = link.progress().durable; now != durable) {
      durable = now;
      quiet_since = clock::now();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return durable;
}

// Until the copy shows the file and a change was acknowledged since.
void wait_durable(const files_link& link, std::uint64_t before, const std::string& copied,
                  std::size_t bytes) {
  const auto deadline = clock::now() + std::chrono::seconds{10};
  struct ::stat status {};
  while (::stat(copied.c_str(), &status) != 0 || static_cast<std::size_t>(status.st_size) != bytes ||
         link.progress().durable == before) {
    if (clock::now() > deadline) give_up(copied + " does not arrive");
    std::this_thread::sleep_for(look_every);
  }
}

std::string in_ms(const samples& of) {
  return fmt::format("p50 {:.2f}, p99 {:.2f}, max {:.2f} ms", of.median(), of.percentile(0.99),
                     of.percentile(1));
}

void one_at_a_time(const file_tree& one, const files_link& link, const std::string& floor_directory) {
  samples floor;
  measure_new_files(floor_directory, latency_samples / 2, floor);
  samples taken;
  constexpr std::size_t bytes = 4000;
  for (int i = 0; i < latency_samples; ++i) {
    const std::string name = fmt::format("/d{}/message{}", i % 100, i);
    const std::uint64_t before = durable_when_quiet(link);
    write_file(one.base() + name, bytes);
    const auto closed = clock::now();
    wait_durable(link, before, one.copy() + name, bytes);
    taken.add(milliseconds_since(closed));
  }
  measure_new_files(floor_directory, latency_samples / 2, floor);
  print({.what = "file close -> durable on the host, 10,000-file tree",
         .ours = in_ms(taken),
         .baseline = "write, fsync, rename, fsync: " + in_ms(floor),
         .ratio = fmt::format("{:.2f}", taken.median() / floor.median()),
         .goal = "p50 <= 3 ms, p99 <= 10 ms",
         .met = taken.median() <= 3 && taken.percentile(0.99) <= 10});
}

void burst(const file_tree& one, files_link& link, const std::string& directory) {
  auto began = clock::now();
  make_tree(directory + "/plain", tree_files, 100, 4096, true);
  const double plain = milliseconds_since(began) / 1000;
  fs::create_directories(one.base() + "/burst");
  began = clock::now();
  make_tree(one.base() + "/burst", tree_files, 100, 4096);
  const auto closed = clock::now();
  link.drain();
  link.wait_for(files_progress::phase::drained);
  const double after = milliseconds_since(closed) / 1000;
  const double whole = milliseconds_since(began) / 1000;
  const auto copying = clock::now();
  shell(fmt::format("cp -r {0}/base/burst {0}/copied && sync -f {0}", directory));
  const double copied = milliseconds_since(copying) / 1000;
  print({.what = "10,000 files of 4 KiB into 100 new directories -> durable, after the last close",
         .ours = fmt::format("{:.2f} s (written in {:.2f} s)", after, whole - after),
         .baseline = fmt::format("cp -r + sync {:.2f} s; write + fsync each {:.2f} s", copied, plain),
         .ratio = fmt::format("{:.2f} of cp -r", after / copied),
         .goal = "<= 1 s",
         .met = after <= 1});
}

// Until a path shows on the copy with a size, or without (0: any).
double seconds_until(const std::string& copied, std::uintmax_t bytes, clock::time_point began) {
  struct ::stat status {};
  while (::stat(copied.c_str(), &status) != 0 ||
         (bytes != 0 && static_cast<std::uintmax_t>(status.st_size) != bytes)) {
    if (milliseconds_since(began) > 120'000) give_up(copied + " does not arrive");
    std::this_thread::sleep_for(look_every);
  }
  return milliseconds_since(began) / 1000;
}

void rename_directory(const file_tree& one) {
  fs::create_directories(one.base() + "/before");
  for (int i = 0; i < tree_files; ++i) write_file(fmt::format("{}/before/{}", one.base(), i), 16);
  seconds_until(fmt::format("{}/before/{}", one.copy(), tree_files - 1), 16, clock::now());
  std::this_thread::sleep_for(std::chrono::seconds{2});  // whatever was written before has gone its way
  const auto began = clock::now();
  fs::rename(one.base() + "/before", one.base() + "/after");
  const double took = seconds_until(one.copy() + "/after", 0, began);
  print({.what = "a directory of 10,000 files renamed -> on the copy",
         .ours = fmt::format("{:.1f} ms", took * 1000),
         .goal = "<= 100 ms",
         .met = took <= 0.1});
}

void large_file(const file_tree& one, std::uint64_t mib, const std::string& directory) {
  const std::string source = directory + "/large";
  shell(fmt::format("head -c {}M /dev/urandom > {} && sync -f {}", mib, source, directory));
  auto began = clock::now();
  shell(fmt::format("cp {0} {0}.copy && sync -f {1} && rm {0}.copy", source, directory));
  const double copied = milliseconds_since(began) / 1000;
  began = clock::now();
  fs::rename(source, one.base() + "/large");
  const double took = seconds_until(one.copy() + "/large", mib << 20, began);
  print({.what = fmt::format("a file of {} MiB moved in -> on the copy", mib),
         .ours = fmt::format("{:.2f} s", took),
         .baseline = fmt::format("cp + sync {:.2f} s", copied),
         .ratio = fmt::format("{:.2f}", took / copied),
         .goal = "<= 3 s for 1 GiB",
         .met = mib >= 1024 ? std::optional(took <= 3) : std::nullopt});
  began = clock::now();
  shell(fmt::format("head -c 1M /dev/urandom >> {}/large", one.base()));
  const double appended = seconds_until(one.copy() + "/large", (mib + 1) << 20, began);
  print({.what = fmt::format("1 MiB appended to it"), .ours = fmt::format("{:.0f} ms", appended * 1000)});
}

// 64 kbit/s, as a telephone gives them; the agent is killed in the middle.
void recording(const std::string& directory) {
  const file_tree one(directory + "/recording");
  double lost = 0;
  {
    const agent_process agent(directory + "/recording", one.protects());
    const files_link link(agent.channel(), one.open_sink());
    const os::unique_fd file(::open((one.base() + "/rec.wav").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    const std::string piece(800, 'r');
    const auto began = clock::now();
    for (int i = 1; i <= 80; ++i) {
      std::this_thread::sleep_until(began + i * std::chrono::milliseconds{100});
      if (::write(file.value(), piece.data(), piece.size()) != 800) give_up("write a recording");
    }
    ::kill(agent.pid(), SIGKILL);
    std::error_code none;
    const auto there = fs::file_size(one.copy() + "/rec.wav", none);
    lost = static_cast<double>(64'000 - (none ? 0 : there)) / 8000;
  }
  print({.what = "8 s of a recording, the agent killed before it is closed: lost",
         .ours = fmt::format("{:.2f} s", lost),
         .goal = "<= 0.5 s",
         .met = lost <= 0.5});
}

void changes(std::uint64_t mib) {
  const test::temporary_directory directory;
  const file_tree one(directory.path());
  make_tree(one.base(), tree_files, 100, 4096);
  shell("sync -f " + directory.path());
  fs::create_directories(directory.path() + "/floor");
  const agent_process agent(directory.path(), one.protects());
  const auto began = clock::now();
  files_link link(agent.channel(), one.open_sink());
  print({.what = "first copy of 10,000 files of 4 KiB",
         .ours = fmt::format("{:.2f} s", milliseconds_since(began) / 1000)});
  one_at_a_time(one, link, directory.path() + "/floor");
  burst(one, link, directory.path());
  rename_directory(one);
  large_file(one, mib, directory.path());
  recording(directory.path());
}

void restart(int count) {
  const test::temporary_directory directory;
  const file_tree one(directory.path());
  make_tree(one.base(), count, 200, 16);
  {
    const agent_process agent(directory.path(), one.protects());
    files_link link(agent.channel(), one.open_sink());
    link.drain();
    link.wait_for(files_progress::phase::drained);
  }
  const auto sink = one.open_sink();
  const auto began = clock::now();
  const agent_process agent(directory.path(), one.protects());
  const double started = milliseconds_since(began);
  const files_link link(agent.channel(), sink);
  const double in_step = milliseconds_since(began);
  print({.what = fmt::format("agent restarted with {} unchanged files: in step after", count),
         .ours = fmt::format("{:.2f} s (it serves after {:.2f} s)", in_step / 1000, started / 1000),
         .goal = "<= 3 s with 1,000,000",
         .met = count >= goal_files ? std::optional(in_step <= 3000) : std::nullopt});
  print(
      {.what = fmt::format("agent restarted with {} unchanged files: memory", count),
       .ours = fmt::format("{:.0f} MiB, at most {:.0f} MiB", agent.resident_mib(), agent.peak_resident_mib()),
       .goal = "<= 160 MB with 1,000,000",
       .met =
           count >= goal_files ? std::optional(agent.peak_resident_mib() * 1.048576 <= 160) : std::nullopt});
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  const int unchanged = argc > 1 ? std::atoi(argv[1]) : 100'000;
  const std::string only = argc > 2 ? argv[2] : "";
  if (only.empty() || only == "changes") understudy::bench::changes(unchanged >= 1'000'000 ? 1024 : 256);
  if (only.empty() || only == "restart") understudy::bench::restart(unchanged);
}
