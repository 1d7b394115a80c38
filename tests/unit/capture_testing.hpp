#pragma once

// What the capture's tests share: an application in a process of its own (the capture's process must not open
// the database with libsqlite: closing any descriptor would drop SQLite's POSIX locks), and a mirror that is
// built from a subscription alone.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "agent-primary/capture/capture_engine.hpp"
#include "common/channel/database_source.hpp"
#include "common/sqlite/page_hash.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/sqlite_shell.hpp"

namespace understudy::capture_testing {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

inline bool soak() {
  return std::getenv("UNDERSTUDY_SOAK") != nullptr;
}

class temporary_directory {
 public:
  temporary_directory() {
    std::string name = (std::filesystem::temp_directory_path() / "understudy-capture-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = 20s) {
  const auto deadline = steady_clock::now() + limit;
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// What an application does through SQLite, counting what went wrong.
class connection {
 public:
  explicit connection(const std::string& path) {
    if (::sqlite3_open(path.c_str(), &db_) != SQLITE_OK) std::abort();
  }
  ~connection() { ::sqlite3_close(db_); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  int run(const std::string& sql) { return ::sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr); }
  void must(const std::string& sql) {
    if (const int rc = run(sql); rc != SQLITE_OK) {
      std::fprintf(stderr, "%s: %s\n", sql.c_str(), ::sqlite3_errmsg(db_));
      ::_exit(70);
    }
  }
  sqlite3* handle() { return db_; }

 private:
  sqlite3* db_ = nullptr;
};

// Counters in memory that parent and child share.
struct shared_figures {
  std::atomic<std::uint64_t> commits{0};
  std::atomic<std::uint64_t> commit_busy{0};
  std::atomic<std::uint64_t> other_errors{0};
  std::atomic<std::uint64_t> checkpoint_busy{0};
  std::atomic<std::uint64_t> stage{0};  // what the child has reached
  std::atomic<std::uint64_t> go{0};     // what the parent lets it do
  std::atomic<std::int64_t> times[20000];

  // For the child: tells that stage n is reached and waits for the parent's word.
  void pause(std::uint64_t n) {
    stage = n;
    while (go < n) ::usleep(200);
  }
};

// A process that runs `body`. It is forked, so it is made while the test has no threads yet, before an
// engine; later ones are test::sqlite_shell.
class application {
 public:
  explicit application(const std::function<void(shared_figures&)>& body) {
    void* memory =
        ::mmap(nullptr, sizeof(shared_figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    figures_ = new (memory) shared_figures;
    pid_ = ::fork();
    if (pid_ == 0) {
      body(*figures_);
      ::_exit(0);
    }
  }
  ~application() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::munmap(figures_, sizeof(shared_figures));
  }
  application(const application&) = delete;
  application& operator=(const application&) = delete;

  shared_figures& figures() { return *figures_; }
  pid_t pid() const { return pid_; }
  bool reached(std::uint64_t n) {
    return eventually([&] { return figures_->stage >= n; });
  }
  void proceed(std::uint64_t n) { figures_->go = n; }
  void kill() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  bool finished() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
    return pid_ < 0;
  }
  int wait() {
    if (pid_ > 0) ::waitpid(pid_, &status_, 0);
    pid_ = -1;
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : -1;
  }

 private:
  shared_figures* figures_ = nullptr;
  pid_t pid_ = -1;
  int status_ = 0;
};

// Another process opens the database, runs the statements and closes it.
inline void run_sql(const std::string& path, const std::string& statements) {
  ASSERT_TRUE(test::through_sqlite(path, statements).has_value()) << statements;
}

inline void make_database(const std::string& path, const std::string& pragmas = "", int rows = 10) {
  run_sql(path, pragmas + ";PRAGMA journal_mode=WAL;CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);" +
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<" +
                    std::to_string(rows) + ") INSERT INTO t SELECT i, i, randomblob(100) FROM n");
}

inline std::vector<std::string> pages_of_file(const std::string& path, std::uint32_t page_size) {
  std::ifstream in(path, std::ios::binary);
  std::vector<std::string> pages;
  std::string page(page_size, '\0');
  while (in.read(page.data(), page_size)) pages.push_back(page);
  return pages;
}

// A copy made of what the source delivers and nothing else.
class mirror {
 public:
  explicit mirror(std::shared_ptr<channel::database_source> source) : source_(std::move(source)) {}

  bool wait_ready(std::chrono::milliseconds limit = 20s) {
    return eventually([&] { return source_->state().now == channel::source_state::phase::ready; }, limit);
  }
  // Subscribes, and fetches what differs from what it has.
  bool attach(std::chrono::milliseconds limit = 20s) {
    const auto deadline = steady_clock::now() + limit;
    while (steady_clock::now() < deadline) {
      if (!wait_ready(limit)) return false;
      auto subscription = source_->subscribe();
      if (!subscription.ok()) continue;
      subscription_ = *std::move(subscription);
      register_ = subscription_->base().combined;
      pages_.resize(subscription_->base().database_pages);
      page_size_ = subscription_->base().page_size;
      healed_pages_ = 0;
      const auto hashes = source_->hashes(1, static_cast<std::uint32_t>(pages_.size()));
      bool whole = true;
      for (std::uint32_t n = 1; n <= pages_.size() && whole; ++n) {
        if (n <= hashes.size() && hash(n) == hashes[n - 1] && pages_[n - 1].size() == page_size_) continue;
        whole = fetch(n, deadline);
      }
      if (whole) return true;
    }
    return false;
  }
  // Takes a page as the source says that it is, which may take a few readings while a checkpoint writes it.
  bool fetch(std::uint32_t number, steady_clock::time_point deadline) {
    while (steady_clock::now() < deadline) {
      auto image = source_->read_page(number);
      if (!image.ok()) return absl::IsOutOfRange(image.status());
      pages_[number - 1] = std::move(image->bytes);
      const auto said = source_->hashes(number, 1);
      if (said.empty() || said[0] == hash(number)) break;
    }
    ++healed_pages_;
    return true;
  }
  // Applies what waits; false at a gap (see reason()), true when nothing came for `quiet`.
  bool drain(std::chrono::milliseconds quiet = 0ms) {
    for (;;) {
      auto event = subscription_->next(steady_clock::now() + quiet);
      switch (event.what) {
        case channel::source_event::kind::nothing:
          return true;
        case channel::source_event::kind::transaction:
          apply(event.transaction);
          break;
        default:
          reason_ = event.reason;
          last_event_ = event.what;
          subscription_.reset();
          return false;
      }
    }
  }
  // Drains and heals after gaps until `done` and everything is quiet.
  void follow(const std::function<bool()>& done, std::chrono::milliseconds limit = 60s) {
    const auto deadline = steady_clock::now() + limit;
    while (steady_clock::now() < deadline) {
      if (!subscription_ && !attach()) break;
      const bool was_done = done();
      if (!drain(5ms)) {
        ++gaps_;
        reasons_.push_back(reason_);
        continue;
      }
      if (was_done) return;
    }
    ADD_FAILURE() << "the application did not finish in time";
  }
  bool equals(const std::string& path) const { return pages_ == pages_of_file(path, page_size_); }
  // The mirror's every page is the file's; the application must have closed it.
  void expect_equals(const std::string& path) {
    const auto file = pages_of_file(path, page_size_);
    ASSERT_EQ(pages_.size(), file.size());
    unsigned different = 0;
    for (std::size_t i = 0; i < file.size(); ++i) {
      if (i + 1 == sqlite::lock_page(page_size_)) continue;
      if (pages_[i] != file[i] && ++different <= 5) ADD_FAILURE() << "page " << i + 1 << " differs";
    }
    EXPECT_EQ(different, 0u) << "pages differ of " << file.size();
  }
  // Register and array agree with the pages.
  void expect_consistent() {
    const auto state = source_->state();
    ASSERT_EQ(state.database_pages, pages_.size());
    sqlite::page_hash all;
    for (std::uint32_t n = 1; n <= pages_.size(); ++n) {
      if (n != sqlite::lock_page(page_size_)) all ^= hash(n);
    }
    EXPECT_EQ(state.combined, all);
    EXPECT_EQ(register_, all);
  }
  // The same for what was delivered, while the source goes on.
  void expect_pages_match_register() {
    sqlite::page_hash all;
    for (std::uint32_t n = 1; n <= pages_.size(); ++n) {
      if (n != sqlite::lock_page(page_size_)) all ^= hash(n);
    }
    EXPECT_EQ(register_, all);
  }

  void apply(const channel::captured_transaction& transaction) {
    ++transactions_;
    EXPECT_EQ(transaction.hash_before, register_)
        << "transaction " << transaction.number << " builds on another";
    register_ = transaction.hash_after;
    pages_.resize(transaction.database_pages, std::string(transaction.page_size, '\0'));
    for (const auto& page : transaction.pages) {
      ASSERT_GE(page.number, 1u);
      ASSERT_LE(page.number, transaction.database_pages);
      ASSERT_EQ(page.bytes.size(), transaction.page_size);
      pages_[page.number - 1] = page.bytes;
    }
    if (on_transaction) on_transaction(transaction);
  }

  void write(const std::string& path) const {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (const auto& page : pages_) out.write(page.data(), static_cast<std::streamsize>(page.size()));
  }

  // The same copy, of a source of another life.
  void use(std::shared_ptr<channel::database_source> source) {
    subscription_.reset();
    source_ = std::move(source);
  }

  std::function<void(const channel::captured_transaction&)> on_transaction;
  channel::source_subscription& subscription() { return *subscription_; }
  bool attached() const { return subscription_ != nullptr; }
  void detach() { subscription_.reset(); }
  const std::shared_ptr<channel::database_source>& source() const { return source_; }
  const std::string& reason() const { return reason_; }
  channel::source_event::kind last_event() const { return last_event_; }
  std::uint64_t transactions() const { return transactions_; }
  unsigned gaps() const { return gaps_; }
  std::string all_reasons() const {
    std::string text;
    for (const auto& r : reasons_) text += r + "\n";
    return text;
  }
  std::uint64_t healed_pages() const { return healed_pages_; }
  std::size_t pages() const { return pages_.size(); }
  void corrupt(std::uint32_t page) { pages_[page - 1][7] ^= 1; }

 private:
  sqlite::page_hash hash(std::uint32_t n) const {
    const auto& p = pages_[n - 1];
    return sqlite::hash_page(n, {reinterpret_cast<const std::byte*>(p.data()), p.size()});
  }

  std::shared_ptr<channel::database_source> source_;
  std::unique_ptr<channel::source_subscription> subscription_;
  std::vector<std::string> pages_;
  std::uint32_t page_size_ = 0;
  sqlite::page_hash register_;
  std::string reason_;
  std::vector<std::string> reasons_;
  channel::source_event::kind last_event_ = channel::source_event::kind::nothing;
  std::uint64_t transactions_ = 0;
  std::uint64_t healed_pages_ = 0;
  unsigned gaps_ = 0;
};

inline std::unique_ptr<capture::capture_engine> start_engine(capture::capture_options options = {}) {
  auto engine = capture::capture_engine::start(options);
  if (!engine.ok()) {
    ADD_FAILURE() << message_of(engine.status());
    return nullptr;
  }
  return *std::move(engine);
}

}  // namespace understudy::capture_testing
