#include <gtest/gtest.h>

#include "agent-primary/capture/poll_pace.hpp"

namespace understudy::capture {
namespace {

using namespace std::chrono_literals;

class CapturePollPace : public ::testing::Test {
 protected:
  // Turns with news until the pace has settled.
  void saturate() {
    for (int turn = 0; turn < 20; ++turn) this->turn(true);
  }
  void turn(bool news) { pace_.turned(now_ += pace_.interval(), news, false); }

  poll_pace::time_point now_{1h};
  poll_pace pace_{50us, 1ms, 25ms};
};

TEST_F(CapturePollPace, IsShortAfterALifeSignAndDoublesWhileNothingComes) {
  pace_.wake(now_);
  EXPECT_EQ(pace_.interval(), 50us);
  EXPECT_TRUE(pace_.active(now_ + 24ms));
  EXPECT_FALSE(pace_.active(now_ + 25ms));
  turn(false);
  EXPECT_EQ(pace_.interval(), 100us);
  for (int i = 0; i < 9; ++i) turn(false);
  EXPECT_EQ(pace_.interval(), 1ms);
  turn(true);
  EXPECT_EQ(pace_.interval(), 50us);
}

TEST_F(CapturePollPace, PollsRarelyWhileNewsNeverEnd) {
  turn(true);
  EXPECT_FALSE(pace_.saturated());
  EXPECT_TRUE(pace_.events_may_wait(now_)) << "the next look is as near as the event";
  saturate();
  EXPECT_TRUE(pace_.saturated());
  EXPECT_EQ(pace_.interval(), 500us);
  EXPECT_FALSE(pace_.events_may_wait(now_)) << "only the database file makes any: its log is about to end";
}

TEST_F(CapturePollPace, IsSaturatedUntilNewsAreRare) {
  saturate();
  for (int i = 0; i < 7; ++i) turn(false);
  EXPECT_TRUE(pace_.saturated());
  EXPECT_LE(pace_.interval(), 500us);
  turn(false);
  turn(false);
  EXPECT_FALSE(pace_.saturated());
}

TEST_F(CapturePollPace, LooksOftenWhileTheLogIsWrittenBack) {
  saturate();
  pace_.wake(now_);
  pace_.written_back(now_);
  for (int i = 0; i < 15; ++i) {
    turn(i % 2 == 0);
    EXPECT_LE(pace_.interval(), 100us);
    EXPECT_TRUE(pace_.events_may_wait(now_)) << "each page that is written back makes one";
  }
  EXPECT_TRUE(pace_.saturated()) << "a checkpoint is no pause";
  pace_.started_over(now_ += 3ms);
  turn(true);
  EXPECT_GT(pace_.interval(), 100us);
}

TEST_F(CapturePollPace, LooksSeveralTimesInTheLifeOfAShortLog) {
  saturate();
  for (int life = 0; life < 5; ++life) pace_.started_over(now_ += 1ms);
  turn(true);
  EXPECT_EQ(pace_.interval(), 125us);
  for (int life = 0; life < 100; ++life) pace_.started_over(now_ += 30ms);
  turn(true);
  EXPECT_EQ(pace_.interval(), 500us) << "short ones of the past are forgotten";
}

TEST_F(CapturePollPace, WaitsForEventsOnceTheNextLookIsFar) {
  turn(true);
  for (int i = 0; i < 3; ++i) turn(false);
  EXPECT_GT(pace_.interval(), 200us);
  EXPECT_FALSE(pace_.events_may_wait(now_)) << "a log can begin and end before the next look";
}

}  // namespace
}  // namespace understudy::capture
