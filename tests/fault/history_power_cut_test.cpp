// The power fails at every sync point, and at every operation, of a copy with its history. Whatever then
// remains of what was not synced: the history goes on where the copy is (not a state is missing between its
// first and the copy's own), and every state is what the source had. And the copy does as well as without
// one.

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "tests/fault/history_copy.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/power_cuts.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;

constexpr std::uint64_t segment_bytes = 24 << 10;

std::shared_ptr<history::recorder> make_recorder(os::file_system& fs, const std::string& place) {
  history::recorder::environment given;
  given.server = "server";
  given.catalog = "catalog";
  return std::make_shared<history::recorder>(std::move(given), [&fs, place] {
    return history::change_log::open(fs, place + "/history", segment_bytes);
  });
}

struct run {
  os::file_system& fs;
  std::string place;
  const test::history& h;
  std::uint64_t spill_bytes;
  std::shared_ptr<history::recorder> kept;
  std::unique_ptr<database_copy> copy;
  int acknowledged = -1;
  int attempted = -1;
  std::uint64_t first = 0;  // state of the history, once that is durable

  absl::Status open() {
    copy.reset();
    kept = make_recorder(fs, place);
    UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, fs.open_root(place + "/copies"));
    replica::copy_options options;
    options.spill_bytes = spill_bytes;
    options.patience = options.exclusive_patience = std::chrono::milliseconds(50);
    options.observer = kept;
    UNDERSTUDY_ASSIGN_OR_RETURN(copy, database_copy::open(std::move(directory), "copy.db", options));
    return absl::OkStatus();
  }
  absl::Status commit() {
    UNDERSTUDY_RETURN_IF_ERROR(copy->commit_durably());
    acknowledged = attempted;
    return absl::OkStatus();
  }
  absl::Status next(int count = 1) {
    for (; count > 0; --count)
      UNDERSTUDY_RETURN_IF_ERROR(test::apply(*copy, h, static_cast<std::size_t>(++attempted)));
    return commit();
  }
  absl::Status heal_next(heal_way way, int count) {
    attempted += count;
    UNDERSTUDY_RETURN_IF_ERROR(test::heal(*copy, h, static_cast<std::size_t>(attempted), way));
    return commit();
  }
  void work() { (void)kept->work(); }
};

absl::Status begins(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(r.open());
  UNDERSTUDY_RETURN_IF_ERROR(r.heal_next(heal_way::new_file, 1));
  r.work();
  if (r.kept->range().exists) r.first = r.kept->range().first;
  return absl::OkStatus();
}

absl::Status records_and_folds(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(begins(r));
  for (int i = 0; i < 14; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.next(1 + i % 3));
    if (i % 2 == 1) r.work();
    if (i % 5 == 4) UNDERSTUDY_RETURN_IF_ERROR(r.copy->fold());
  }
  return absl::OkStatus();
}

absl::Status reopens(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(begins(r));
  for (int i = 0; i < 4; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.next(3));
    r.work();
    UNDERSTUDY_RETURN_IF_ERROR(r.next(2));
    UNDERSTUDY_RETURN_IF_ERROR(r.open());
    r.work();
    UNDERSTUDY_RETURN_IF_ERROR(r.next());
    if (i % 2 == 1) UNDERSTUDY_RETURN_IF_ERROR(r.copy->fold());
  }
  return absl::OkStatus();
}

absl::Status heals(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(begins(r));
  for (int i = 0; i < 2; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.next(2));
    UNDERSTUDY_RETURN_IF_ERROR(r.heal_next(heal_way::in_place, 4));
    UNDERSTUDY_RETURN_IF_ERROR(r.heal_next(heal_way::new_file, 3));
    r.work();
    UNDERSTUDY_RETURN_IF_ERROR(r.next(2));
    UNDERSTUDY_RETURN_IF_ERROR(r.copy->fold());
  }
  return absl::OkStatus();
}

struct named_scenario {
  const char* name;
  std::function<absl::Status(run&)> steps;
  std::uint64_t spill_bytes;
  bool may_begin_anew;  // what a new file replaced is gone after a power cut
};

class history_power_cut : public ::testing::TestWithParam<named_scenario> {
 protected:
  static const test::history& commits() {
    static const test::history made = test::make_history({.transactions = 40, .seed = 21});
    return made;
  }

  void check(const std::function<void(test::faulty_file_system&)>& arm, std::uint64_t seed,
             std::span<const test::unsynced> policies) {
    const test::history& h = commits();
    const test::temporary_directory real(test::where::memory);
    std::filesystem::create_directory(real.path() + "/copies");
    test::faulty_file_system fs(real.path());
    arm(fs);
    run r{.fs = fs,
          .place = real.path(),
          .h = h,
          .spill_bytes = GetParam().spill_bytes,
          .kept = nullptr,
          .copy = nullptr};
    const absl::Status ended = GetParam().steps(r);
    ASSERT_TRUE(ended.ok() || fs.power_is_cut()) << message_of(ended);
    for (const auto policy : policies) {
      const test::temporary_directory image(test::where::memory);
      ASSERT_TRUE(fs.materialise(image.path(), policy, seed).ok());
      SCOPED_TRACE(fmt::format("policy {}, seed {}, acknowledged {}, attempted {}", static_cast<int>(policy),
                               seed, r.acknowledged, r.attempted));
      if (!std::filesystem::exists(image.path() + "/copies/copy.db")) continue;
      run after{.fs = os::posix_file_system(),
                .place = image.path(),
                .h = h,
                .spill_bytes = GetParam().spill_bytes,
                .kept = nullptr,
                .copy = nullptr};
      const absl::Status opened = after.open();
      ASSERT_TRUE(opened.ok()) << message_of(opened);
      const int n = h.find(after.copy->state().combined);
      ASSERT_GE(n, r.acknowledged);
      after.work();
      const auto w = after.kept->range();
      ASSERT_TRUE(w.exists) << w.began_because;
      ASSERT_EQ(after.kept->view_of(w.last).value()->combined(), after.copy->state().combined);
      if (!GetParam().may_begin_anew && r.first != 0) {
        ASSERT_EQ(w.first, r.first) << w.began_because;
      }
      ASSERT_EQ(test::compare_all(*after.kept, {&h}), "");
      // And goes on from there.
      after.attempted = n;
      if (n + 2 > static_cast<int>(h.size())) continue;
      ASSERT_TRUE(after.next(2).ok());
      ASSERT_TRUE(after.copy->fold().ok());
      ASSERT_EQ(after.copy->figures().wal_bytes, 32u);
      ASSERT_EQ(after.kept->range().last, w.last + 2);
      ASSERT_EQ(test::compare_all(*after.kept, {&h}, 5), "");
    }
  }

  test::power_cut_check checked() {
    return [this](const auto& arm, auto seed, auto policies) { check(arm, seed, policies); };
  }

  static test::power_cut_places count() {
    const test::temporary_directory real(test::where::memory);
    std::filesystem::create_directory(real.path() + "/copies");
    test::faulty_file_system fs(real.path());
    run r{.fs = fs,
          .place = real.path(),
          .h = commits(),
          .spill_bytes = GetParam().spill_bytes,
          .kept = nullptr,
          .copy = nullptr};
    const absl::Status ended = GetParam().steps(r);
    EXPECT_TRUE(ended.ok()) << message_of(ended);
    return {fs.sync_points(), fs.operations()};
  }
};

TEST_P(history_power_cut, at_every_sync_point) {
  const test::power_cut_places whole = count();
  if (HasFatalFailure()) return;
  test::cut_at_every_sync_point(whole.sync_points, checked());
}

TEST_P(history_power_cut, at_every_operation) {
  const test::power_cut_places whole = count();
  if (HasFatalFailure()) return;
  test::cut_at_every_operation(whole.operations, std::getenv("UNDERSTUDY_SOAK") != nullptr ? 1 : 3,
                               checked());
}

INSTANTIATE_TEST_SUITE_P(
    history, history_power_cut,
    ::testing::Values(named_scenario{"records_and_folds", records_and_folds, 4 << 20, false},
                      named_scenario{"spilled_transactions", records_and_folds, 6000, false},
                      named_scenario{"reopens", reopens, 4 << 20, false},
                      named_scenario{"heals", heals, 20000, true}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace understudy
