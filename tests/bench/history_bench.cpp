// What keeping the past of a database costs and gives: the copy's apply path with and without a history, the
// bytes that a transaction takes in its log, and how fast a past moment is written.
//   history_bench [seconds per measurement] [MiB of the database that is restored]

#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "agent-failover/history/keeper.hpp"
#include "agent-failover/history/restore.hpp"
#include "agent-failover/replica/database_copy.hpp"
#include "common/os/file_system.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/disk_floor.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/samples.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/wait.hpp"

namespace understudy::bench {
namespace {

void must(const absl::Status& s) {
  if (!s.ok()) give_up(std::string(message_of(s)));
}

// A real application's transactions: updates of rows by an indexed key, as page images out of its -wal.
class source {
 public:
  explicit source(const std::string& path) : path_(path) {
    if (sqlite3_open(path.c_str(), &db_) != SQLITE_OK) give_up("cannot open " + path);
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0;"
        "CREATE TABLE call(id INTEGER PRIMARY KEY, number TEXT, name TEXT, at INTEGER, note TEXT);"
        "CREATE INDEX by_number ON call(number);"
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        "INSERT INTO call SELECT i, '+43' || abs(random() % 10000000000), 'name ' || i, i, "
        "'left a message of ' || abs(random() % 100) || ' s' FROM n;"
        "PRAGMA wal_checkpoint(TRUNCATE)");
    std::ifstream in(path, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    for (std::size_t at = 0; at < all.size(); at += page_size) {
      start.push_back({static_cast<std::uint32_t>(at / page_size + 1), all.substr(at, page_size)});
      hashes_.set(start.back().number, hash(start.back()));
    }
    combined = hashes_.combined();
  }
  ~source() { sqlite3_close(db_); }

  channel::captured_transaction next() {
    ++count_;
    run(
        fmt::format("BEGIN; UPDATE call SET at = {0}, note = 'called back at {0}' WHERE id = {1};"
                    "INSERT INTO call(number, name, at) VALUES('+43{0}', 'name', {0}); COMMIT",
                    count_, 1 + count_ * 7919 % 20000));
    channel::captured_transaction made;
    made.number = count_;
    made.page_size = page_size;
    made.hash_before = hashes_.combined();
    std::ifstream in(path_ + "-wal", std::ios::binary);
    for (;; ++frame_) {
      in.seekg(static_cast<std::streamoff>(sqlite::frame_offset(frame_ + 1, page_size)));
      std::string bytes(sqlite::wal_frame_header_bytes + page_size, '\0');
      if (!in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) break;
      const auto head =
          sqlite::parse_frame_header(std::as_bytes(std::span(bytes)).first<sqlite::wal_frame_header_bytes>());
      made.pages.push_back({head.page_number, bytes.substr(sqlite::wal_frame_header_bytes)});
      hashes_.set(head.page_number, hash(made.pages.back()));
      if (head.commit_pages != 0) made.database_pages = head.commit_pages;
    }
    made.hash_after = hashes_.combined();
    return made;
  }

  static constexpr std::uint32_t page_size = 4096;
  std::vector<channel::page_image> start;
  sqlite::page_hash combined;

 private:
  static sqlite::page_hash hash(const channel::page_image& page) {
    return sqlite::hash_page(page.number, std::as_bytes(std::span(page.bytes)));
  }
  void run(const std::string& sql) {
    char* problem = nullptr;
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &problem) != SQLITE_OK) give_up(problem);
  }

  const std::string path_;
  sqlite3* db_ = nullptr;
  sqlite::page_hash_array hashes_;
  std::uint64_t count_ = 0;
  std::uint32_t frame_ = 0;
};

struct copy_with_history {
  copy_with_history(const std::string& place, bool with) {
    std::filesystem::remove_all(place);
    std::filesystem::create_directories(place + "/copy");
    replica::copy_options options;
    if (with) {
      keeper = std::make_unique<history::keeper>(os::posix_file_system(), "bench", place + "/history",
                                                 history::bounds{.bytes = 8ull << 30});
      kept = keeper->history_of("bench");
      options.observer = kept;
    }
    auto opened = replica::database_copy::open(os::posix_file_system().open_root(place + "/copy").value(),
                                               "bench.db", options);
    must(opened.status());
    copy = *std::move(opened);
  }
  void heal(const std::vector<channel::page_image>& pages, const sqlite::page_hash& combined,
            channel::heal_way way = channel::heal_way::new_file) {
    must(copy->begin_heal(way, source::page_size));
    must(copy->add_pages(source::page_size, pages));
    must(copy->end_heal(static_cast<std::uint32_t>(pages.size()), combined));
    must(copy->commit_durably());
  }
  void wait() const {
    if (kept && !test::wait_until([&] { return kept->range().exists && kept->range().behind == 0; },
                                  std::chrono::minutes(5)))
      give_up("the history does not catch up: " + kept->range().began_because);
  }
  std::unique_ptr<history::keeper> keeper;
  std::shared_ptr<history::recorder> kept;
  std::unique_ptr<replica::database_copy> copy;
};

class history_bench {
 public:
  history_bench(double seconds, std::uint64_t mib) : seconds_(seconds), mib_(mib) {}

  // The copy alone, fed from memory.
  void apply(int per_second) {
    std::filesystem::remove(directory_.path() + "/app.db");
    std::filesystem::remove(directory_.path() + "/app.db-wal");
    source from(directory_.path() + "/app.db");
    const std::size_t wanted = per_second == 0 ? 20'000 : static_cast<std::size_t>(per_second * seconds_);
    std::vector<channel::captured_transaction> all;
    std::uint64_t pages = 0;
    for (std::size_t i = 0; i < wanted; ++i) {
      all.push_back(from.next());
      pages += all.back().pages.size();
    }
    samples took[2], rate[2];
    std::uint64_t bytes = 0, states = 0;
    for (int round = 0; round < 3; ++round) {
      for (const bool with : {false, true}) {
        copy_with_history c(directory_.path() + "/host", with);
        c.heal(from.start, from.combined);
        c.wait();
        const std::uint64_t before = c.kept ? c.kept->range().bytes : 0;
        const auto begun = clock::now();
        std::size_t done = 0;
        for (const auto& one : all) {
          if (per_second != 0)
            std::this_thread::sleep_until(begun + std::chrono::microseconds(1'000'000 / per_second * done));
          else if (clock::now() - begun > std::chrono::duration<double>(seconds_))
            break;
          const auto at = clock::now();
          must(c.copy->add_pages(one.page_size, one.pages));
          must(c.copy->end_transaction({.number = one.number,
                                        .page_size = one.page_size,
                                        .database_pages = one.database_pages,
                                        .hash_before = one.hash_before,
                                        .hash_after = one.hash_after}));
          must(c.copy->commit_durably());
          took[with].add(std::chrono::duration<double, std::milli>(clock::now() - at).count());
          ++done;
        }
        rate[with].add(static_cast<double>(done) /
                       std::chrono::duration<double>(clock::now() - begun).count());
        c.wait();
        if (!with) continue;
        const auto w = c.kept->range();
        if (w.interrupted) give_up("its history was interrupted: " + w.began_because);
        bytes += w.bytes - before;
        states += done;
      }
    }
    const std::string what = per_second == 0 ? "saturated" : fmt::format("{} tx/s", per_second);
    const auto in_ms = [](const samples& of) {
      return fmt::format("p50 {:.2f}, p99 {:.2f} ms", of.median(), of.percentile(0.99));
    };
    print({.what = fmt::format("transaction received -> durable, with its history kept, {}", what),
           .ours = in_ms(took[1]),
           .baseline = in_ms(took[0]) + " without",
           .ratio = fmt::format("{:.2f}", took[1].median() / took[0].median())});
    if (per_second != 0) return;
    print({.what = "the same: transactions a second, one thread, median of 3",
           .ours = fmt::format("{:.0f} tx/s", rate[1].median()),
           .baseline = fmt::format("{:.0f} tx/s without", rate[0].median()),
           .ratio = fmt::format("{:.3f}", rate[1].median() / rate[0].median())});
    print({.what = fmt::format("history of a transaction of {:.1f} pages",
                               static_cast<double>(pages) / static_cast<double>(all.size())),
           .ours = fmt::format("{:.0f} bytes", static_cast<double>(bytes) / static_cast<double>(states)),
           .baseline = fmt::format("{:.0f} bytes of before-images",
                                   static_cast<double>(pages) / static_cast<double>(all.size()) * 4096)});
  }

  void restore() {
    const std::uint32_t count = static_cast<std::uint32_t>(mib_ << 20) / source::page_size;
    std::vector<channel::page_image> image(count);
    sqlite::page_hash_array hashes;
    std::uint64_t seed = 1;
    const auto fill = [&](std::uint32_t n) {
      std::string& bytes = image[n - 1].bytes;
      bytes.assign(source::page_size, 'x');
      for (std::size_t i = 0; i < bytes.size(); i += 16) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        std::memcpy(bytes.data() + i, &seed, 8);
      }
      hashes.set(n, sqlite::hash_page(n, std::as_bytes(std::span(bytes))));
    };
    for (std::uint32_t n = 1; n <= count; ++n) {
      image[n - 1].number = n;
      fill(n);
    }
    // Only SQLite would mind that this is no database but for its first bytes.
    copy_with_history c(directory_.path() + "/host", true);
    std::string& first = image[0].bytes;
    first.replace(0, 16, std::string("SQLite format 3\0", 16));
    first[16] = 0x10;
    first[17] = 0;
    first[18] = first[19] = 2;
    hashes.set(1, sqlite::hash_page(1, std::as_bytes(std::span(first))));
    c.heal(image, hashes.combined());
    // A tenth of it changed since, in a thousand transactions.
    for (int transaction = 0; transaction < 1000; ++transaction) {
      const sqlite::page_hash before = hashes.combined();
      std::vector<channel::page_image> changed;
      for (std::uint32_t i = 0; i < count / 10'000; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const std::uint32_t n = 2 + static_cast<std::uint32_t>(seed >> 33) % (count - 1);
        fill(n);
        changed.push_back(image[n - 1]);
      }
      must(c.copy->add_pages(source::page_size, changed));
      must(c.copy->end_transaction({.number = static_cast<std::uint64_t>(transaction + 1),
                                    .page_size = source::page_size,
                                    .database_pages = count,
                                    .hash_before = before,
                                    .hash_after = hashes.combined()}));
      must(c.copy->commit_durably());
    }
    c.wait();
    image.clear();
    const auto to = os::posix_file_system().open_root(directory_.path()).value();
    samples speed, plain;
    for (int round = 0; round < 3; ++round) {
      (void)to->remove_file("restored.db");
      const auto begun = clock::now();
      auto view = c.kept->view_of(c.kept->range().first);
      must(view.status());
      must(history::write_database(**view, *to, "restored.db", 0600,
                                   [](std::uint64_t) { return absl::OkStatus(); }));
      speed.add(static_cast<double>(mib_) / std::chrono::duration<double>(clock::now() - begun).count());
      const auto copying = clock::now();
      if (std::system(fmt::format("cp {0}/restored.db {0}/copied.db && sync {0}/copied.db", directory_.path())
                          .c_str()) != 0)
        give_up("cp failed");
      plain.add(static_cast<double>(mib_) / std::chrono::duration<double>(clock::now() - copying).count());
      std::filesystem::remove(directory_.path() + "/copied.db");
    }
    print({.what = fmt::format(
               "a moment 1,000 transactions ago of {} MiB, a tenth of it changed since, written", mib_),
           .ours = fmt::format("{:.0f} MiB/s", speed.median()),
           .baseline = fmt::format("cp + fsync {:.0f} MiB/s", plain.median()),
           .ratio = fmt::format("{:.2f}", speed.median() / plain.median())});
  }

 private:
  test::temporary_directory directory_;
  double seconds_;
  std::uint64_t mib_;
};

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  understudy::bench::history_bench bench(argc > 1 ? std::atof(argv[1]) : 4,
                                         argc > 2 ? static_cast<std::uint64_t>(std::atoll(argv[2])) : 256);
  bench.apply(100);
  bench.apply(0);
  bench.restore();
}
