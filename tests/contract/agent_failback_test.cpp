// Failback as the host does it, against the real understudy-agent: the stand-in's data comes back.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <future>

#include "agent-failover/replica/database_copy.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "common/channel/database_streams.hpp"
#include "common/channel/wire.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_text.hpp"
#include "tests/contract/agent_process.hpp"

namespace understudy {
namespace {

using test::enough;
using test::lease_client;
using test::query;

// The copy on a failover host, filled over the wire.
struct copied {
  explicit copied(const std::string& directory)
      : copy(*replica::database_copy::open(*os::posix_file_system().open_root(directory), "main.db")) {}
  std::shared_ptr<replica::database_copy> copy;

  absl::Status replicate(std::shared_ptr<grpc::Channel> channel) {
    std::promise<absl::Status> ended;
    std::atomic<bool> drained{false};
    channel::stream_callbacks callbacks;
    callbacks.on_progress = [&](const channel::database_progress& p) {
      if (p.now == channel::database_progress::phase::drained) drained = true;
    };
    callbacks.on_end = [&](const absl::Status& status) { ended.set_value(status); };
    const auto stream = channel::start_database_replication(channel, "main", copy, callbacks);
    stream->drain();
    EXPECT_TRUE(test::wait_until([&] { return drained.load(); }, enough));
    stream->stop();
    return ended.get_future().get();
  }
  v1::DatabaseImage image() const {
    v1::DatabaseImage result;
    const channel::sink_state state = copy->state();
    result.set_exists(state.exists);
    result.set_page_size(state.page_size);
    result.set_pages(state.database_pages);
    channel::to_wire(state.combined, result.mutable_hash());
    return result;
  }
};

struct agent_failback_test : test::agent_process {
  v1::DatabaseImage base;
  std::unique_ptr<capture::capture_engine> engine;
  std::shared_ptr<channel::database_source> source;

  // Copied, fenced, and then written to by a stand-in.
  void take_over() {
    query(in("main.db"), "pragma journal_mode = wal; create table t(x); insert into t values ('before')");
    ::chmod(in("main.db").c_str(), 0604);
    write_config();
    start();
    std::filesystem::create_directories(in("copy"));
    {
      copied host(in("copy"));
      const absl::Status replicated = host.replicate(channel);
      ASSERT_TRUE(replicated.ok() || absl::IsCancelled(replicated)) << message_of(replicated);
      base = host.image();
      ASSERT_TRUE(host.copy->prepare_for_stand_in().ok());
    }
    EXPECT_EQ(query(in("copy/main.db"), "select x from t"), "before;");
    lease_client host(*stub);
    host.ask(lease_client::fence(1));
    ASSERT_TRUE(test::wait_until(
        [&] { return host.ask({}).applications(0).state() == v1::APPLICATION_STATE_STOPPED; }, enough));
    query(in("copy/main.db"), "insert into t values ('stand-in')");
    engine = *capture::capture_engine::start({.real_time = false});
    source = engine->add(in("copy/main.db"));
    ASSERT_TRUE(
        test::wait_until([&] { return source->state().now == channel::source_state::phase::ready; }, enough));
  }

  // The stand-in serves on after a failback that was given up.
  void stand_in_writes(const std::string& row) {
    const auto before = source->state().combined;
    query(in("copy/main.db"), "insert into t values ('" + row + "')");
    ASSERT_TRUE(test::wait_until([&] { return source->state().combined != before; }, enough));
  }

  absl::StatusOr<v1::Adopted> restore(v1::DivergedChoice choice, std::uint64_t epoch = 1) {
    std::promise<absl::Status> ended;
    std::atomic<bool> over{false};
    std::atomic<bool> drained{false};
    channel::stream_callbacks callbacks;
    callbacks.on_progress = [&](const channel::database_progress& p) {
      if (p.now == channel::database_progress::phase::drained) drained = true;
    };
    callbacks.on_end = [&](const absl::Status& status) {
      over = true;
      ended.set_value(status);
    };
    const auto stream = channel::start_database_restore(channel, "main", epoch, source, callbacks);
    stream->drain();
    EXPECT_TRUE(test::wait_until([&] { return drained || over; }, enough));
    if (!drained) return ended.get_future().get();
    v1::AdoptImage adopt;
    const channel::source_state state = source->state();
    adopt.mutable_image()->set_exists(true);
    adopt.mutable_image()->set_page_size(state.page_size);
    adopt.mutable_image()->set_pages(state.database_pages);
    channel::to_wire(state.combined, adopt.mutable_image()->mutable_hash());
    *adopt.mutable_base() = base;
    adopt.set_choice(choice);
    auto answer = std::make_shared<std::promise<absl::StatusOr<v1::Adopted>>>();
    stream->adopt(adopt, [answer](const absl::StatusOr<v1::Adopted>& a) { answer->set_value(a); });
    absl::StatusOr<v1::Adopted> result = answer->get_future().get();
    ended.get_future().wait();
    return result;
  }
};

TEST_F(agent_failback_test, brings_the_stand_ins_data_back) {
  take_over();
  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status()) << log();
  EXPECT_FALSE(adopted->diverged());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
  EXPECT_EQ(std::filesystem::status(in("main.db")).permissions(), std::filesystem::perms{0604});
  EXPECT_FALSE(std::filesystem::exists(in("main.db.understudy-incoming")));
}

TEST_F(agent_failback_test, an_answer_that_was_lost_is_given_again) {
  take_over();
  ASSERT_TRUE(restore(v1::DIVERGED_CHOICE_UNSPECIFIED).ok());
  const absl::StatusOr<v1::Adopted> again = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  ASSERT_TRUE(again.ok()) << message_of(again.status());
  EXPECT_FALSE(again->diverged());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
}

TEST_F(agent_failback_test, what_an_earlier_failback_put_there_is_not_the_primarys_own) {
  take_over();
  ASSERT_TRUE(restore(v1::DIVERGED_CHOICE_UNSPECIFIED).ok());  // and then it was given up
  for (const char* row : {"later", "later still"}) {
    ASSERT_NO_FATAL_FAILURE(stand_in_writes(row));
    const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
    ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
    EXPECT_FALSE(adopted->diverged());
  }
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;later;later still;");
  ASSERT_EQ(describe().databases(0).adopted_size(), 2);
  v1::DatabaseImage here;
  channel::to_wire(source->state().combined, here.mutable_hash());
  EXPECT_EQ(describe().databases(0).adopted(0).hash().low(), here.hash().low());
}

// The record of one failback says nothing about what was written here after it, though the same image comes
// again.
TEST_F(agent_failback_test, the_record_of_an_earlier_failback_permits_nothing_later) {
  take_over();
  ASSERT_TRUE(restore(v1::DIVERGED_CHOICE_UNSPECIFIED).ok());
  const channel::source_state state = source->state();
  channel::to_wire(state.combined, base.mutable_hash());
  {
    lease_client host(*stub);
    host.ask(lease_client::grant(2));
    query(in("main.db"), "insert into t values ('only here')");
    host.ask(lease_client::fence(3));
    ASSERT_TRUE(test::wait_until(
        [&] { return host.ask({}).applications(0).state() == v1::APPLICATION_STATE_STOPPED; }, enough));
  }
  const absl::StatusOr<v1::Adopted> undecided = restore(v1::DIVERGED_CHOICE_UNSPECIFIED, 3);
  EXPECT_EQ(rpc::reason_of(undecided.status()), "DIVERGED") << message_of(undecided.status());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;only here;");
}

// The line of a host that lost its power may live on for seconds.
TEST_F(agent_failback_test, the_newest_restore_ends_an_older_one) {
  take_over();
  std::promise<absl::Status> ended;
  std::atomic<bool> in_step{false};
  channel::stream_callbacks callbacks;
  callbacks.on_progress = [&](const channel::database_progress& p) {
    if (p.now == channel::database_progress::phase::streaming) in_step = true;
  };
  callbacks.on_end = [&](const absl::Status& status) { ended.set_value(status); };
  const auto older = channel::start_database_restore(channel, "main", 1, source, callbacks);
  ASSERT_TRUE(test::wait_until([&] { return in_step.load(); }, enough));
  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
  EXPECT_FALSE(ended.get_future().get().ok());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
}

TEST_F(agent_failback_test, diverged_data_needs_a_choice_and_is_kept) {
  take_over();
  query(in("main.db"), "insert into t values ('only here')");
  const absl::StatusOr<v1::Adopted> undecided = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  EXPECT_EQ(undecided.status().code(), absl::StatusCode::kFailedPrecondition)
      << message_of(undecided.status());
  EXPECT_EQ(rpc::reason_of(undecided.status()), "DIVERGED");
  struct ::stat own {};
  ASSERT_EQ(::stat(in("main.db").c_str(), &own), 0);
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;only here;")
      << "nothing may change without a choice";

  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_DISCARD_PRIMARY);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
  EXPECT_TRUE(adopted->diverged());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
  EXPECT_EQ(query(adopted->set_aside() + "/main.db", "select x from t"), "before;only here;");
  struct ::stat aside {};
  ASSERT_EQ(::stat((adopted->set_aside() + "/main.db").c_str(), &aside), 0);
  EXPECT_EQ(aside.st_ino, own.st_ino) << "on one filesystem it is renamed, not copied";
  EXPECT_EQ(aside.st_nlink, 1u);
}

TEST_F(agent_failback_test, the_primarys_data_may_win) {
  take_over();
  query(in("main.db"), "insert into t values ('only here')");
  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_KEEP_PRIMARY);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;only here;");
  EXPECT_EQ(query(adopted->set_aside() + "/main.db", "select x from t"), "before;stand-in;");
}

TEST_F(agent_failback_test, a_restore_is_refused_unless_fenced_under_this_epoch) {
  take_over();
  EXPECT_EQ(restore(v1::DIVERGED_CHOICE_UNSPECIFIED, 2).status().code(),
            absl::StatusCode::kFailedPrecondition);
  lease_client host(*stub);
  host.ask(lease_client::grant(2));
  EXPECT_EQ(restore(v1::DIVERGED_CHOICE_UNSPECIFIED, 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace understudy
