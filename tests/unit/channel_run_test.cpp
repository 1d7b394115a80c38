// Transactions that wait together travel in one message, count one by one, and a lone one does not wait.

#include <gtest/gtest.h>

#include "common/channel/sink_session.hpp"
#include "common/channel/source_session.hpp"
#include "common/channel/wire.hpp"
#include "tests/support/channel/model_copy.hpp"
#include "tests/support/channel/model_database.hpp"

namespace understudy::channel {
namespace {

using namespace std::chrono_literals;

// A source that has to be asked to look.
class asked_database : public test::model_database {
 public:
  using test::model_database::model_database;
  bool looked_since(std::chrono::steady_clock::time_point asked) override {
    asked_ = asked;
    return looks_;
  }
  bool looks_ = true;
  std::optional<std::chrono::steady_clock::time_point> asked_;
};

class channel_run : public ::testing::Test {
 protected:
  channel_run() {
    source_.commit(0, 50);
    source_.capture();
    EXPECT_TRUE(receiver_.start(now_).ok());
    for (int i = 0; i < 100; ++i) {
      now_.steady += 1ms;
      hear();
      const auto message = next();
      EXPECT_TRUE(!message || receiver_.receive(*message, now_).ok());
      EXPECT_TRUE(!receiver_.wants_commit() || receiver_.commit(now_).ok());
    }
    EXPECT_EQ(receiver_.progress().now, database_progress::phase::streaming);
  }
  void hear() {
    while (auto up = receiver_.next()) EXPECT_TRUE(sender_.receive(*up, now_).ok());
  }
  std::optional<v1::SourceMessage> next() {
    auto message = sender_.next(now_);
    EXPECT_TRUE(message.ok());
    return message.ok() ? *message : std::nullopt;
  }
  void commit(int times, std::uint32_t pages = 3) {
    for (int i = 0; i < times; ++i) {
      source_.commit(pages, source_.pages());
      source_.capture();
    }
  }
  absl::Status give(const v1::SourceMessage& message) { return receiver_.receive(message, now_); }

  moment now_{std::chrono::steady_clock::time_point{1h}, {}};
  asked_database source_{7};
  test::model_copy copy_;
  source_session sender_{source_};
  sink_session receiver_{copy_};
};

TEST_F(channel_run, a_lone_transaction_leaves_at_once_and_those_behind_it_together) {
  commit(1);
  auto first = next();
  ASSERT_TRUE(first && first->has_part());
  commit(40);
  EXPECT_FALSE(next()) << "a message just left";
  EXPECT_TRUE(sender_.collecting(now_));
  ASSERT_LE(sender_.wake_at(), now_.steady + 1ms);
  now_.steady = sender_.wake_at();
  EXPECT_FALSE(sender_.collecting(now_));
  auto second = next();
  ASSERT_TRUE(second && second->has_run());
  EXPECT_EQ(second->run().ends_size(), 40);
  ASSERT_TRUE(give(*first).ok());
  ASSERT_TRUE(give(*second).ok());
  ASSERT_TRUE(receiver_.commit(now_).ok());
  EXPECT_EQ(copy_.durable().pages, source_.truth());
  const auto acknowledgement = receiver_.next();
  ASSERT_TRUE(acknowledgement && acknowledgement->has_acknowledgement());
  EXPECT_EQ(acknowledgement->acknowledgement().durable(), 42u);
  EXPECT_FALSE(receiver_.next()) << "one acknowledgement for all of them";
}

TEST_F(channel_run, more_than_a_message_takes_goes_on_without_a_pause) {
  commit(60, 100);  // 3 MB of pages of 512 bytes
  std::vector<v1::SourceMessage> messages;
  while (auto message = next()) messages.push_back(*std::move(message));
  ASSERT_GE(messages.size(), 3u);
  for (const auto& message : messages) {
    EXPECT_LE(message.run().part().pages().size(), std::size_t{PART_BYTES});
    ASSERT_TRUE(give(message).ok());
  }
  ASSERT_TRUE(receiver_.commit(now_).ok());
  EXPECT_EQ(copy_.durable().pages, source_.truth());
}

TEST_F(channel_run, where_very_many_come_a_message_waits_for_more) {
  const auto pause_after = [&](int transactions) {
    now_.steady += 10ms;
    commit(transactions);
    const auto message = next();
    EXPECT_TRUE(message && give(*message).ok());
    EXPECT_FALSE(next());
    return sender_.wake_at() - now_.steady;
  };
  EXPECT_EQ(pause_after(1), 500us);
  EXPECT_EQ(pause_after(5), 2000us) << "in 0.5 ms: 10,000 a second";
  EXPECT_EQ(pause_after(20), 2000us) << "in 2 ms, as many";
  EXPECT_EQ(pause_after(10), 500us) << "in 2 ms: 5,000 a second";
}

TEST_F(channel_run, is_drained_as_soon_as_the_source_has_looked) {
  source_.looks_ = false;
  const auto asked_at = now_.steady;
  sender_.drain();
  EXPECT_FALSE(next());
  EXPECT_EQ(source_.asked_, asked_at);
  commit(1);  // what the look found
  now_.steady += 10ms;
  source_.looks_ = true;
  const auto last = next();
  ASSERT_TRUE(last && last->has_part());
  now_.steady += 1ms;
  EXPECT_FALSE(next()) << "it is not durable";
  EXPECT_EQ(source_.asked_, asked_at);
  ASSERT_TRUE(give(*last).ok());
  ASSERT_TRUE(receiver_.commit(now_).ok());
  hear();
  const auto drained = next();
  ASSERT_TRUE(drained && drained->has_drained()) << "and not later";
}

// An image that was found, not captured, has the number 0, which nobody has acknowledged either.
TEST_F(channel_run, a_first_image_is_drained_when_it_is_durable_and_not_before) {
  source_.recount();
  test::model_copy copy;
  source_session sender{source_};
  sink_session receiver{copy};
  ASSERT_TRUE(receiver.start(now_).ok());
  sender.drain();
  bool healed = false;
  for (int i = 0; i < 100 && !healed; ++i) {
    now_.steady += 1ms;
    while (auto up = receiver.next()) ASSERT_TRUE(sender.receive(*up, now_).ok());
    const auto message = sender.next(now_);
    ASSERT_TRUE(message.ok());
    ASSERT_TRUE(!*message || receiver.receive(**message, now_).ok());
    healed = *message && (*message)->has_heal_end();
  }
  ASSERT_TRUE(healed);
  for (int i = 0; i < 5; ++i) {  // a heartbeat may be among them
    now_.steady += 10ms;
    const auto early = sender.next(now_);
    ASSERT_TRUE(early.ok());
    EXPECT_FALSE(*early && (*early)->has_drained());
  }
  ASSERT_TRUE(receiver.commit(now_).ok());
  while (auto up = receiver.next()) ASSERT_TRUE(sender.receive(*up, now_).ok());
  now_.steady += 10ms;
  const auto drained = sender.next(now_);
  ASSERT_TRUE(drained.ok() && *drained && (*drained)->has_drained());
}

TEST_F(channel_run, what_was_captured_before_a_gap_or_comes_twice_does_no_harm) {
  commit(5);
  const auto run = next();
  ASSERT_TRUE(run && run->has_run());
  ASSERT_TRUE(give(*run).ok());
  ASSERT_TRUE(give(*run).ok());
  ASSERT_TRUE(receiver_.commit(now_).ok());
  EXPECT_EQ(copy_.durable().pages, source_.truth());
  commit(3);
  source_.gap();
  now_.steady += 2ms;
  const auto restart = next();
  ASSERT_TRUE(restart && restart->has_restart());
}

TEST_F(channel_run, one_that_does_not_fit_together_is_refused_whole) {
  commit(4);
  const auto good = next();
  ASSERT_TRUE(good && good->has_run());
  const auto spoiled = [&](auto&& change) {
    v1::SourceMessage message = *good;
    change(*message.mutable_run());
    return receiver_.receive(message, now_);
  };
  EXPECT_FALSE(spoiled([](v1::TransactionRun& run) { run.set_pages_each(0, 4000000000u); }).ok());
  EXPECT_FALSE(spoiled([](v1::TransactionRun& run) { run.mutable_ends()->RemoveLast(); }).ok());
  EXPECT_FALSE(spoiled([](v1::TransactionRun& run) { run.mutable_part()->set_transaction(0); }).ok());
  EXPECT_FALSE(spoiled([](v1::TransactionRun& run) { run.mutable_part()->mutable_end(); }).ok());
  EXPECT_FALSE(spoiled([](v1::TransactionRun& run) { run.clear_part(); }).ok());
  EXPECT_FALSE(receiver_.wants_commit());
  EXPECT_TRUE(give(*good).ok());
}

TEST_F(channel_run, stops_at_the_first_transaction_that_does_not_build_on_the_copy) {
  commit(6);
  auto run = next();
  ASSERT_TRUE(run && run->has_run());
  run->mutable_run()->mutable_ends(3)->mutable_hash_before()->set_low(1);
  ASSERT_TRUE(give(*run).ok());
  ASSERT_TRUE(receiver_.commit(now_).ok());
  EXPECT_EQ(receiver_.progress().durable, 4u) << "the first copy and three of six";
  bool wanted = false;
  while (auto up = receiver_.next()) wanted = wanted || up->message_case() == v1::SinkMessage::kHealWanted;
  EXPECT_TRUE(wanted);
}

}  // namespace
}  // namespace understudy::channel
