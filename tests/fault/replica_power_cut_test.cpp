// The power fails at every sync point, and at every operation, of all that a copy does. Whatever then remains
// of what was not synced, stock SQLite opens the copy and shows a committed prefix, never behind the last
// acknowledgement; and the copy itself recovers to the same state.

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "agent-failover/replica/database_copy.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/power_cuts.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;

// How far a run came: state `acknowledged` was committed durably, state `attempted` at most may be visible.
struct progress {
  int acknowledged = -1;
  int attempted = -1;
};

struct run {
  test::faulty_file_system& fs;
  std::string place;
  const test::history& h;
  replica::copy_options options;
  progress& at;
  std::unique_ptr<database_copy> copy;

  absl::Status open() {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, fs.open_root(place));
    UNDERSTUDY_ASSIGN_OR_RETURN(copy, database_copy::open(std::move(directory), "copy.db", options));
    return absl::OkStatus();
  }
  absl::Status commit() {
    UNDERSTUDY_RETURN_IF_ERROR(copy->commit_durably());
    at.acknowledged = at.attempted;
    return absl::OkStatus();
  }
  absl::Status next(int count = 1) {
    for (; count > 0; --count)
      UNDERSTUDY_RETURN_IF_ERROR(test::apply(*copy, h, static_cast<std::size_t>(++at.attempted)));
    return absl::OkStatus();
  }
  absl::Status heal_next(heal_way way, int count) {
    at.attempted += count;
    return test::heal(*copy, h, static_cast<std::size_t>(at.attempted), way);
  }
};

using scenario = std::function<absl::Status(run&)>;

absl::Status appends(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(r.open());
  UNDERSTUDY_RETURN_IF_ERROR(r.heal_next(heal_way::new_file, 1));
  UNDERSTUDY_RETURN_IF_ERROR(r.commit());
  for (const int group : {1, 1, 1, 3, 1, 5, 1, 1, 2}) {
    UNDERSTUDY_RETURN_IF_ERROR(r.next(group));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
  }
  return absl::OkStatus();
}

absl::Status folds(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(appends(r));
  for (int i = 0; i < 10; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.next(1 + i % 3));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
    if (i % 3 == 2) UNDERSTUDY_RETURN_IF_ERROR(r.copy->fold());
  }
  return absl::OkStatus();
}

absl::Status reopens(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(appends(r));
  for (int i = 0; i < 3; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.open());
    UNDERSTUDY_RETURN_IF_ERROR(r.next(2));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
    UNDERSTUDY_RETURN_IF_ERROR(r.copy->fold());
  }
  return absl::OkStatus();
}

absl::Status heals_in_place(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(appends(r));
  for (int i = 0; i < 3; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.heal_next(heal_way::in_place, 4));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
    UNDERSTUDY_RETURN_IF_ERROR(r.next());
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
    if (i == 1) UNDERSTUDY_RETURN_IF_ERROR(r.copy->fold());
  }
  return absl::OkStatus();
}

absl::Status heals_into_a_new_file(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(appends(r));
  for (int i = 0; i < 3; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.heal_next(heal_way::new_file, 3));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
    UNDERSTUDY_RETURN_IF_ERROR(r.next(2));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
  }
  return absl::OkStatus();
}

absl::Status hands_over_and_resumes(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(appends(r));
  for (int i = 0; i < 2; ++i) {
    UNDERSTUDY_RETURN_IF_ERROR(r.copy->prepare_for_stand_in());
    UNDERSTUDY_RETURN_IF_ERROR(r.copy->resume());
    UNDERSTUDY_RETURN_IF_ERROR(r.next());
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
  }
  return absl::OkStatus();
}

absl::Status abandons(run& r) {
  UNDERSTUDY_RETURN_IF_ERROR(appends(r));
  for (int i = 0; i < 4; ++i) {
    for (const auto way : {heal_way::in_place, heal_way::new_file}) {
      UNDERSTUDY_RETURN_IF_ERROR(r.copy->begin_heal(way, r.h.page_size));
      UNDERSTUDY_RETURN_IF_ERROR(r.copy->add_pages(r.h.page_size, r.h.image(r.h.size())));
      r.copy->abandon();
    }
    UNDERSTUDY_RETURN_IF_ERROR(r.next());
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
  }
  return absl::OkStatus();
}

// Heals that are cut off, at another page each time, in this life of the copy or at its end; and go on.
absl::Status heals_that_are_cut_off(run& r) {
  for (int i = 0; i < 4; ++i) {
    if (r.copy == nullptr) UNDERSTUDY_RETURN_IF_ERROR(r.open());
    const auto n = static_cast<std::size_t>(r.at.attempted + 3);
    const auto image = r.h.image(n);
    const auto differs = [&](const channel::page_image& page) {
      const auto has = r.copy->hashes(page.number, 1);
      return has.empty() ||
             has.front() != sqlite::hash_page(page.number, std::as_bytes(std::span(page.bytes)));
    };
    for (int cut = 0; cut < 3; ++cut) {
      UNDERSTUDY_RETURN_IF_ERROR(r.copy->begin_heal(heal_way::new_file, r.h.page_size));
      int few = 2 + i;
      for (const auto& page : image) {
        if (!differs(page) || few-- <= 0) continue;
        UNDERSTUDY_RETURN_IF_ERROR(r.copy->add_pages(r.h.page_size, {&page, 1}));
      }
      if (cut == 1) {
        UNDERSTUDY_RETURN_IF_ERROR(r.open());
      } else {
        r.copy->abandon();
      }
    }
    r.at.attempted = static_cast<int>(n);
    UNDERSTUDY_RETURN_IF_ERROR(r.copy->begin_heal(heal_way::new_file, r.h.page_size));
    for (const auto& page : image) {
      if (differs(page)) UNDERSTUDY_RETURN_IF_ERROR(r.copy->add_pages(r.h.page_size, {&page, 1}));
    }
    UNDERSTUDY_RETURN_IF_ERROR(r.copy->end_heal(static_cast<std::uint32_t>(image.size()), r.h.registers[n]));
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
    UNDERSTUDY_RETURN_IF_ERROR(r.next());
    UNDERSTUDY_RETURN_IF_ERROR(r.commit());
  }
  return absl::OkStatus();
}

struct named_scenario {
  const char* name;
  scenario steps;
  std::uint64_t spill_bytes;
  bool wal_header;
};

class power_cut : public ::testing::TestWithParam<named_scenario> {
 protected:
  static const test::history& commits(bool wal_header) {
    static const test::history wal = test::make_history({.transactions = 50});
    static const test::history rollback = test::make_history({.transactions = 50, .wal_header = false});
    return wal_header ? wal : rollback;
  }

  // Runs the scenario with the power cut as `arm` says; fails the test unless every image is right.
  void check(const std::function<void(test::faulty_file_system&)>& arm, std::uint64_t seed,
             std::span<const test::unsynced> policies) {
    const test::history& h = commits(GetParam().wal_header);
    const test::temporary_directory real(test::where::memory);
    test::faulty_file_system fs(real.path());
    arm(fs);
    progress at;
    const absl::Status ended = execute(fs, real.path(), h, at);
    ASSERT_TRUE(ended.ok() || fs.power_is_cut()) << message_of(ended);
    for (const auto policy : policies) {
      const test::temporary_directory image(test::where::memory);
      ASSERT_TRUE(fs.materialise(image.path(), policy, seed).ok());
      SCOPED_TRACE(fmt::format("policy {}, seed {}, acknowledged {}, attempted {}", static_cast<int>(policy),
                               seed, at.acknowledged, at.attempted));
      const std::string path = image.path() + "/copy.db";
      const bool exists = ::access(path.c_str(), F_OK) == 0;
      if (!exists) {
        ASSERT_EQ(at.acknowledged, -1);
        continue;
      }
      // Our own recovery and SQLite's, in either order, agree.
      std::int64_t own = -2;
      const auto recover = [&] {
        auto copy = database_copy::open(os::posix_file_system().open_root(image.path()).value(), "copy.db");
        ASSERT_TRUE(copy.ok()) << message_of(copy.status());
        own = h.find((*copy)->state().combined);
      };
      if (seed % 2 == 0) recover();
      const test::finding f = test::inspect(path, h);
      ASSERT_EQ(f.error, "");
      ASSERT_GE(f.marker, at.acknowledged);
      ASSERT_LE(f.marker, at.attempted);
      if (seed % 2 == 1) recover();
      ASSERT_EQ(own, f.marker);
    }
  }

  test::power_cut_check checked() {
    return [this](const auto& arm, auto seed, auto policies) { check(arm, seed, policies); };
  }

  static test::power_cut_places count() {
    const test::temporary_directory real(test::where::memory);
    test::faulty_file_system fs(real.path());
    progress at;
    const absl::Status ended = execute(fs, real.path(), commits(GetParam().wal_header), at);
    EXPECT_TRUE(ended.ok()) << message_of(ended);
    return {fs.sync_points(), fs.operations()};
  }

  static absl::Status execute(test::faulty_file_system& fs, const std::string& place, const test::history& h,
                              progress& at) {
    replica::copy_options options;
    options.spill_bytes = GetParam().spill_bytes;
    options.patience = options.exclusive_patience = std::chrono::milliseconds(50);
    run r{.fs = fs, .place = place, .h = h, .options = options, .at = at, .copy = nullptr};
    return GetParam().steps(r);
  }
};

TEST_P(power_cut, at_every_sync_point) {
  test::cut_at_every_sync_point(count().sync_points, checked());
}

TEST_P(power_cut, at_every_operation) {
  test::cut_at_every_operation(count().operations, 1, checked());
}

INSTANTIATE_TEST_SUITE_P(
    replica, power_cut,
    ::testing::Values(named_scenario{"appends", appends, 4 << 20, true},
                      named_scenario{"folds", folds, 4 << 20, true},
                      named_scenario{"folds_of_a_rollback_database", folds, 4 << 20, false},
                      named_scenario{"reopens", reopens, 4 << 20, true},
                      named_scenario{"spilled_transactions", folds, 6000, true},
                      named_scenario{"heals_in_place", heals_in_place, 20000, true},
                      named_scenario{"heals_into_a_new_file", heals_into_a_new_file, 4 << 20, true},
                      named_scenario{"heals_a_rollback_database_into_a_new_file", heals_into_a_new_file,
                                     4 << 20, false},
                      named_scenario{"hands_over_and_resumes", hands_over_and_resumes, 4 << 20, true},
                      named_scenario{"abandons", abandons, 20000, true},
                      named_scenario{"heals_that_are_cut_off", heals_that_are_cut_off, 4 << 20, true}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

}  // namespace
}  // namespace understudy
