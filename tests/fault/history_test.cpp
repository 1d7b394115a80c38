// The history of a copy: every moment of its window is what the source had, whatever the copy does meanwhile.

#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "tests/fault/history_copy.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;
using std::chrono::seconds;

class history_copy : public ::testing::Test {
 protected:
  history_copy() { std::filesystem::create_directory(copies_); }

  void open() {
    copy_.reset();
    options_.observer = kept_;
    auto copy = database_copy::open(os::posix_file_system().open_root(copies_).value(), "copy.db", options_);
    ASSERT_TRUE(copy.ok()) << message_of(copy.status());
    copy_ = *std::move(copy);
  }
  void start(history::bounds within = {}) {
    keeper_ = std::make_unique<history::keeper>(os::posix_file_system(), "server", logs_, within);
    kept_ = keeper_->history_of("catalog");
    open();
  }
  // Everything anew, as after a restart of the daemon.
  void restart(history::bounds within = {}) {
    copy_.reset();
    options_.observer.reset();
    keeper_.reset();
    kept_.reset();
    start(within);
  }
  void commit() {
    const absl::Status s = copy_->commit_durably();
    ASSERT_TRUE(s.ok()) << message_of(s);
  }
  void heal(const test::history& h, std::size_t n, heal_way way) {
    const absl::Status s = test::heal(*copy_, h, n, way);
    ASSERT_TRUE(s.ok()) << message_of(s);
    commit();
  }
  void apply(const test::history& h, std::size_t n) {
    const absl::Status s = test::apply(*copy_, h, n);
    ASSERT_TRUE(s.ok()) << message_of(s);
  }
  // Transactions `first` to `last`, one acknowledgement each.
  void commit_each(const test::history& h, std::size_t first, std::size_t last) {
    for (std::size_t n = first; n <= last; ++n) {
      apply(h, n);
      commit();
    }
  }
  bool caught_up() {
    return test::wait_until(
        [&] {
          const auto w = kept_->range();
          return w.exists && w.behind == 0;
        },
        seconds(20));
  }

  test::temporary_directory place_{test::where::memory};
  const std::string copies_ = place_.path() + "/copies";
  const std::string logs_ = place_.path() + "/history";
  replica::copy_options options_;
  std::unique_ptr<history::keeper> keeper_;
  std::shared_ptr<history::recorder> kept_;
  std::unique_ptr<database_copy> copy_;
};

struct flavour {
  const char* name;
  std::uint32_t page_size;
  std::uint64_t fold_bytes;
  std::uint64_t spill_bytes;
};

class history_property : public history_copy, public ::testing::WithParamInterface<flavour> {};

TEST_P(history_property, every_state_is_what_the_source_had) {
  const test::history h =
      test::make_history({.transactions = 120, .page_size = GetParam().page_size, .seed = 3});
  options_.fold_bytes = GetParam().fold_bytes;
  options_.spill_bytes = GetParam().spill_bytes;
  start();
  std::mt19937_64 random(GetParam().page_size);
  heal(h, 0, heal_way::new_file);
  std::size_t n = 0;
  std::size_t states = 1;
  while (n < h.size()) {
    const auto dice = random() % 20;
    if (dice < 2 && n + 5 <= h.size()) {
      heal(h, n += 5, dice == 0 ? heal_way::in_place : heal_way::new_file);
      ++states;
    } else if (dice < 4) {
      ASSERT_TRUE(copy_->fold().ok());
    } else if (dice == 4) {
      restart();
    } else if (dice == 5) {
      open();
    } else {
      for (auto group = 1 + random() % 3; group > 0 && n < h.size(); --group, ++states) apply(h, ++n);
      commit();
    }
    if (HasFatalFailure()) return;
  }
  ASSERT_TRUE(caught_up()) << kept_->range().began_because;
  const auto w = kept_->range();
  EXPECT_FALSE(w.interrupted) << w.began_because;
  EXPECT_EQ(w.last - w.first + 1, states);
  EXPECT_EQ(test::compare_all(*kept_, {&h}), "");
}

INSTANTIATE_TEST_SUITE_P(history, history_property,
                         ::testing::Values(flavour{"ordinary", 4096, 4 << 20, 4 << 20},
                                           flavour{"folds_often", 4096, 64 << 10, 4 << 20},
                                           flavour{"spills", 4096, 128 << 10, 6000},
                                           flavour{"small_pages", 512, 32 << 10, 2000},
                                           flavour{"large_pages", 65536, 1 << 20, 100'000}),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_F(history_copy, a_restored_file_opens_with_stock_sqlite) {
  const test::history h = test::make_history({.transactions = 40});
  start();
  heal(h, 0, heal_way::new_file);
  commit_each(h, 1, h.size());
  ASSERT_TRUE(caught_up());
  const auto w = kept_->range();
  const auto to = os::posix_file_system().open_root(place_.path()).value();
  for (std::uint64_t s = w.first; s <= w.last; s += 3) {
    auto v = kept_->view_of(s).value();
    const std::string name = fmt::format("restored-{}.db", s);
    std::uint64_t done = 0;
    const absl::Status written =
        history::write_database(*v, *to, name, 0600, [&](std::uint64_t bytes) -> absl::Status {
          done = bytes;
          return absl::OkStatus();
        });
    ASSERT_TRUE(written.ok()) << message_of(written);
    const std::string path = place_.path() + "/" + name;
    const test::finding f = test::inspect(path, h);
    EXPECT_EQ(f.error, "");
    EXPECT_EQ(f.marker, static_cast<std::int64_t>(s - w.first));
    struct ::stat st {};
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    EXPECT_TRUE(absl::IsAlreadyExists(
        history::write_database(*v, *to, name, 0600, [](std::uint64_t) { return absl::OkStatus(); })));
  }
  // One that is cancelled leaves nothing.
  auto v = kept_->view_of(w.first).value();
  EXPECT_TRUE(absl::IsCancelled(history::write_database(
      *v, *to, "cancelled.db", 0600, [](std::uint64_t) { return absl::CancelledError("enough"); })));
  for (const auto& entry : std::filesystem::directory_iterator(place_.path())) {
    EXPECT_EQ(entry.path().filename().string().find("cancelled"), std::string::npos);
  }
}

TEST_F(history_copy, views_stay_what_they_are_while_the_copy_moves_on) {
  const test::history h = test::make_history({.transactions = 300, .seed = 9});
  options_.fold_bytes = 64 << 10;
  start();
  heal(h, 0, heal_way::new_file);
  commit_each(h, 1, 20);
  ASSERT_TRUE(caught_up());
  const auto w = kept_->range();
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::string wrong;
  std::thread reader([&] {
    std::mt19937_64 random(5);
    auto follower = kept_->view_of(w.first).value();
    while (!stop && wrong.empty()) {
      auto v = kept_->view_of(w.first + random() % 20);
      wrong = v.ok() ? test::compare(**v, {&h}) : std::string(message_of(v.status()));
      if (!wrong.empty()) break;
      const absl::Status moved = follower->advance();
      if (moved.ok()) wrong = test::compare(*follower, {&h});
      if (!moved.ok() && !absl::IsOutOfRange(moved)) wrong = std::string(message_of(moved));
      ++reads;
    }
  });
  for (std::size_t n = 21; n <= h.size(); ++n) {
    if (n == 100 || n == 200) {
      heal(h, n, n == 100 ? heal_way::new_file : heal_way::in_place);
      continue;
    }
    apply(h, n);
    commit();
  }
  EXPECT_TRUE(test::wait_until([&] { return reads > 30 || !wrong.empty(); }, seconds(20)));
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, "");
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(kept_->range().first, w.first);
}

TEST_F(history_copy, another_page_size_is_one_step) {
  const test::history small = test::make_history({.transactions = 10, .page_size = 1024});
  const test::history large = test::make_history({.transactions = 10, .page_size = 8192, .seed = 2});
  start();
  heal(small, 0, heal_way::new_file);
  for (std::size_t n = 1; n <= small.size(); ++n) apply(small, n);
  commit();
  heal(large, 0, heal_way::new_file);
  for (std::size_t n = 1; n <= large.size(); ++n) apply(large, n);
  commit();
  ASSERT_TRUE(caught_up());
  const auto w = kept_->range();
  EXPECT_EQ(w.last - w.first + 1, small.size() + large.size() + 2);
  EXPECT_EQ(test::compare_all(*kept_, {&small, &large}), "");
  restart();
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(test::compare_all(*kept_, {&small, &large}), "");
}

TEST_F(history_copy, what_a_stand_in_wrote_begins_it_anew_and_says_so) {
  const test::history h = test::make_history({.transactions = 20});
  start();
  heal(h, 0, heal_way::new_file);
  for (std::size_t n = 1; n <= 10; ++n) apply(h, n);
  commit();
  ASSERT_TRUE(caught_up());
  const auto before = kept_->range();
  // Without a write it goes on.
  ASSERT_TRUE(copy_->prepare_for_stand_in().ok());
  EXPECT_FALSE(kept_->range().exists);
  EXPECT_FALSE(kept_->view_of(before.last).ok());
  ASSERT_TRUE(copy_->resume().ok());
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(kept_->range().first, before.first);
  EXPECT_EQ(test::compare_all(*kept_, {&h}), "");

  ASSERT_TRUE(copy_->prepare_for_stand_in().ok());
  {
    auto d = sqlite::database::open(copies_ + "/copy.db", {.create = false}).value();
    ASSERT_TRUE(d.execute("UPDATE marker SET n = 77").ok());
  }
  kept_->expect_interruption("a stand-in ran");
  ASSERT_TRUE(copy_->resume().ok());
  ASSERT_TRUE(caught_up());
  const auto after = kept_->range();
  EXPECT_GT(after.first, before.last);
  EXPECT_TRUE(after.interrupted);
  EXPECT_EQ(after.began_because, "a stand-in ran");
  heal(h, 10, heal_way::in_place);
  for (std::size_t n = 11; n <= 20; ++n) apply(h, n);
  commit();
  ASSERT_TRUE(caught_up());
  const auto last = kept_->range();
  EXPECT_EQ(last.last - last.first, 11u);
  auto v = kept_->view_of(last.first + 1).value();
  EXPECT_EQ(test::compare(*v, {&h}), "");
  EXPECT_TRUE(absl::IsOutOfRange(kept_->view_of(before.last).status()));
}

TEST_F(history_copy, stays_within_its_bounds_and_drops_what_is_oldest) {
  const test::history h = test::make_history({.transactions = 400, .seed = 4});
  const history::bounds within{.age = seconds(3600), .bytes = 2 << 20};
  start(within);
  heal(h, 0, heal_way::new_file);
  std::uint64_t first = 0;
  for (int lap = 0; lap < 6; ++lap) {
    commit_each(h, 1, h.size());
    heal(h, 0, heal_way::in_place);
    ASSERT_TRUE(caught_up());
    const auto w = kept_->range();
    // What is written between two looks may be on top of it.
    EXPECT_LE(w.bytes, within.bytes + (2 << 20));
    EXPECT_FALSE(w.interrupted) << w.began_because;
    if (first == 0) first = w.first;
  }
  const auto w = kept_->range();
  EXPECT_GT(w.first, first);
  EXPECT_EQ(test::compare_all(*kept_, {&h}, 37), "");
  restart(within);
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(kept_->range().first, w.first);
  EXPECT_EQ(kept_->range().last, w.last);
  EXPECT_EQ(kept_->range().begins_at, w.begins_at);
  EXPECT_EQ(test::compare_all(*kept_, {&h}, 53), "");
}

TEST_F(history_copy, finds_the_moment) {
  const test::history h = test::make_history({.transactions = 30});
  start();
  const auto base = std::chrono::system_clock::now() - seconds(3000);
  const auto at = [&](std::size_t n) { return base + seconds(10 * n); };
  copy_->captured_at(at(0));
  heal(h, 0, heal_way::new_file);
  for (std::size_t n = 1; n <= h.size(); ++n) {
    copy_->captured_at(at(n));
    apply(h, n);
    commit();
  }
  ASSERT_TRUE(caught_up());
  const auto w = kept_->range();
  EXPECT_EQ(w.begins_at, at(0));
  EXPECT_EQ(w.last_change_at, at(30));
  for (std::size_t n = 0; n <= h.size(); ++n) {
    for (const auto past : {seconds(0), seconds(9)}) {
      const auto m = kept_->moment_at(at(n) + past).value();
      EXPECT_EQ(m.state, w.first + n);
      EXPECT_EQ(m.last.committed_at, at(n));
      EXPECT_EQ(m.has_next, n < h.size());
      if (m.has_next) {
        EXPECT_EQ(m.next_at, at(n + 1));
      }
    }
  }
  const auto early = kept_->moment_at(at(0) - seconds(1)).status();
  EXPECT_TRUE(absl::IsOutOfRange(early));
  EXPECT_NE(message_of(early).find("the history begins at "), std::string_view::npos) << message_of(early);
}

TEST_F(history_copy, a_log_that_cannot_be_written_harms_nothing_and_begins_anew) {
  const test::history h = test::make_history({.transactions = 40});
  // A file where the directory should be.
  std::ofstream(logs_) << "in the way";
  start();
  heal(h, 0, heal_way::new_file);
  for (std::size_t n = 1; n <= 20; ++n) {
    apply(h, n);
    commit();
    ASSERT_TRUE(copy_->fold().ok());
    EXPECT_EQ(copy_->figures().wal_bytes, 32u);
  }
  EXPECT_FALSE(kept_->range().exists);
  EXPECT_NE(kept_->range().began_because.find("its log cannot be opened"), std::string::npos);
  std::filesystem::remove(logs_);
  EXPECT_TRUE(test::wait_until([&] { return kept_->range().exists; }, seconds(20)));
  EXPECT_TRUE(kept_->range().interrupted);
  commit_each(h, 21, 40);
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(kept_->range().last - kept_->range().first, 20u);
  EXPECT_EQ(test::compare_all(*kept_, {&h}), "");
}

// A recorder that nobody lets work until the test does: the copy goes on without it, and what is recorded
// afterwards is right.
TEST_F(history_copy, the_copy_does_not_wait_for_a_log_that_is_stuck) {
  const test::history h = test::make_history({.transactions = 40, .seed = 8});
  history::recorder::environment given;
  given.server = "server";
  given.catalog = "catalog";
  given.wake = [] {};
  kept_ = std::make_shared<history::recorder>(std::move(given), [this] {
    return history::change_log::open(os::posix_file_system(), logs_, 64 << 10);
  });
  open();
  heal(h, 0, heal_way::new_file);
  (void)kept_->work();
  const auto first = kept_->range().first;
  for (std::size_t n = 1; n <= 5; ++n) apply(h, n);
  commit();
  // It is asked for, not recorded: the frames stay, and the history is whole as soon as there is time.
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(copy_->fold().ok());
  EXPECT_GT(copy_->figures().wal_bytes, 1000u);
  EXPECT_EQ(copy_->figures().fold_blocked_by, "the log of its history");
  ASSERT_TRUE(copy_->fold().ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, seconds(2));
  (void)kept_->work();
  EXPECT_EQ(test::compare_all(*kept_, {&h}), "");
  EXPECT_EQ(kept_->range().first, first);
  EXPECT_EQ(kept_->range().last, first + 5);
  ASSERT_TRUE(copy_->fold().ok());
  EXPECT_EQ(copy_->figures().wal_bytes, 32u);

  // A heal into a new file cannot wait for long, and neither can a stand-in.
  for (const bool stand_in : {false, true}) {
    SCOPED_TRACE(stand_in);
    const std::size_t n = stand_in ? 20 : 6;
    apply(h, n);
    commit();
    auto stale = kept_->view_of(kept_->range().first).value();
    if (stand_in) {
      ASSERT_TRUE(copy_->prepare_for_stand_in().ok());
      ASSERT_TRUE(copy_->resume().ok());
    } else {
      heal(h, 12, heal_way::new_file);
    }
    // What is still there of the past must not be taken for it.
    std::string page(h.page_size, '\0');
    for (std::uint32_t p = 1; p <= stale->page_count(); ++p) {
      const absl::Status read = stale->read_page(p, std::as_writable_bytes(std::span(page)));
      if (!read.ok())
        EXPECT_TRUE(absl::IsAborted(read)) << message_of(read);
      else
        EXPECT_EQ(page, test::pages_of(h, static_cast<std::size_t>(h.find(stale->combined())))[p - 1]);
    }
    for (std::size_t next = stand_in ? 21 : 13; next <= (stand_in ? 25u : 19u); ++next) {
      apply(h, next);
      commit();
    }
    (void)kept_->work();
    const auto w = kept_->range();
    ASSERT_TRUE(w.exists) << w.began_because;
    EXPECT_TRUE(w.interrupted);
    EXPECT_EQ(test::compare_all(*kept_, {&h}), "");
    EXPECT_EQ(kept_->view_of(w.last).value()->combined(), copy_->state().combined);
    for (std::size_t next = stand_in ? 26 : 0; stand_in && next <= 30; ++next) {
      apply(h, next);
      commit();
      (void)kept_->work();
    }
    EXPECT_EQ(test::compare_all(*kept_, {&h}), "");
  }
}

TEST_F(history_copy, damage_is_found_and_said) {
  const test::history h = test::make_history({.transactions = 60});
  start();
  heal(h, 0, heal_way::new_file);
  commit_each(h, 1, h.size());
  ASSERT_TRUE(caught_up());
  const auto w = kept_->range();
  std::filesystem::path file;
  for (const auto& entry : std::filesystem::directory_iterator(logs_ + "/catalog")) file = entry.path();
  const auto size = std::filesystem::file_size(file);
  {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(static_cast<std::streamoff>(size / 2));
    f.write("damage", 6);
  }
  // Either the state does not need the damaged part, or it says so; never another image.
  int lost = 0;
  for (std::uint64_t s = w.first; s <= w.last; ++s) {
    auto v = kept_->view_of(s);
    const std::string wrong = v.ok() ? test::compare(**v, {&h}) : std::string(message_of(v.status()));
    if (wrong.empty()) continue;
    ++lost;
    EXPECT_NE(wrong.find("damaged"), std::string::npos) << wrong;
  }
  EXPECT_GT(lost, 0);
  // After a restart the window is what is whole.
  restart();
  ASSERT_TRUE(caught_up());
  EXPECT_EQ(test::compare_all(*kept_, {&h}), "");
}

}  // namespace
}  // namespace understudy
