#include "agent-failover/actors/journal.hpp"

#include <gtest/gtest.h>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include "agent-failover/api/board.hpp"
#include "common/actor/actor_config.hpp"
#include "common/sqlite/sqlite_vfs.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::actors {
namespace {

constexpr std::chrono::seconds enough{20};  // a deadline, never a pause

struct host_journal : testing::Test {
  test::temporary_directory directory{test::where::memory};
  test::faulty_file_system fs{directory.path()};
  std::unique_ptr<sqlite::file_system_vfs> vfs =
      sqlite::file_system_vfs::make("journal-test", fs.open_root(directory.path()).value()).value();
  std::shared_ptr<store::state_store> store =
      store::state_store::open("state.db", vfs->name().c_str()).value();
  api::board board;
  actor_config config;
  caf::actor_system system{config};
  journal_actor journal = spawn_journal(system, store, board);

  ~host_journal() override {
    caf::anon_send_exit(journal, caf::exit_reason::user_shutdown);
    journal = nullptr;
    system.await_all_actors_done();
    store.reset();
  }

  // The answer, or null for an error.
  changes_ptr commit(changes_ptr what) {
    caf::scoped_actor self{system};
    changes_ptr answer;
    self->request(journal, enough, atom::commit_v, std::move(what))
        .receive([&](const changes_ptr& done) { answer = done; }, [](const caf::error&) {});
    return answer;
  }
  static changes_ptr one_event(const std::string& text) {
    auto made = std::make_shared<store::changes>();
    made->events.emplace_back().set_text(text);
    made->machines.push_back({.server = "p1", .state = text, .since = {}});
    return made;
  }
  // Events after the first one, as a follower that resumes is given them.
  std::size_t published() {
    const auto resumed = board.subscribe({.after_event = 1});
    std::size_t events = 0;
    while (auto update = resumed->next(std::chrono::steady_clock::now())) events += update->has_event();
    return events;
  }
};

TEST_F(host_journal, answers_when_it_is_durable_and_publishes_then) {
  commit(one_event("first"));
  const std::uint64_t syncs = fs.sync_points();
  const changes_ptr done = commit(one_event("second"));
  ASSERT_TRUE(done);
  EXPECT_GT(fs.sync_points(), syncs);
  EXPECT_EQ(done->events.front().id(), 2u);
  EXPECT_EQ(published(), 1u) << "with its id, for those who resume after 1";
  EXPECT_EQ(store->machines().value().front().state, "second");
}

TEST_F(host_journal, what_could_not_be_written_is_an_error_and_is_not_published) {
  ASSERT_TRUE(commit(one_event("first")));
  fs.cut_power_at(fs.sync_points() + 1);
  EXPECT_FALSE(commit(one_event("second")));
  EXPECT_FALSE(commit(one_event("third")));
  EXPECT_EQ(published(), 0u);
}

}  // namespace
}  // namespace understudy::actors
