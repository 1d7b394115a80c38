// Both sessions of a database stream over a seeded link that delays, batches and breaks, between a database
// that is written all the time and a copy that crashes; after every step the copy shows a committed image,
// never behind its last acknowledgement. UNDERSTUDY_SIM_SEED runs one seed; UNDERSTUDY_SOAK runs many.

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <random>

#include "common/channel/sink_session.hpp"
#include "common/channel/source_session.hpp"
#include "tests/support/channel/model_copy.hpp"
#include "tests/support/channel/model_database.hpp"

namespace understudy::channel {
namespace {

using namespace std::chrono_literals;

class world {
 public:
  explicit world(std::uint64_t seed) : random_{seed}, source_{seed + 1} {
    source_.commit(0, 1 + pick(300));
    source_.capture();
    source_.queue_limit = chance(30) ? 4 + pick(10) : 1000;
    if (chance(20)) source_.phase = source_state::phase::scanning;
    source_.meanwhile = [this] {
      if (settling_ || !chance(3)) return;
      write();
      if (chance(70)) source_.capture();
    };
    connect();
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      step();
      check();
    }
    if (!::testing::Test::HasFatalFailure()) settle();
  }

  std::uint64_t heals() const { return copy_.heals; }
  std::uint64_t gaps() const { return gaps_; }
  std::uint64_t crashes() const { return crashes_; }

 private:
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  bool chance(std::uint64_t percent) { return pick(100) < percent; }
  moment now() const {
    return {std::chrono::steady_clock::time_point{time_}, std::chrono::system_clock::time_point{time_}};
  }

  void connect() {
    down_.clear();
    up_.clear();
    sender_.emplace(source_);
    receiver_.emplace(copy_);
    acknowledged_in_stream_ = 0;
    ASSERT_TRUE(receiver_->start(now()).ok());
    hear();
  }
  void hear() {
    while (auto message = receiver_->next()) {
      if (message->has_acknowledgement()) acknowledge(message->acknowledgement().durable());
      up_.push_back(*std::move(message));
    }
  }
  void acknowledge(std::uint64_t durable) {
    ASSERT_GE(durable, acknowledged_in_stream_) << "acknowledgements go back";
    acknowledged_in_stream_ = durable;
    if (tampered_) return;
    acknowledged_ = std::max(acknowledged_, durable);
  }

  // A session that gives up takes the stream with it.
  void require(const absl::Status& status) { ASSERT_TRUE(status.ok()) << status.ToString(); }

  void send() {
    if (down_.size() >= 30) return;
    const auto out = sender_->next(now());
    require(out.status());
    if (out.ok() && *out) down_.push_back(**out);
  }
  void deliver_down() {
    if (down_.empty()) return;
    const v1::SourceMessage message = std::move(down_.front());
    down_.pop_front();
    require(receiver_->receive(message, now()));
    hear();
  }
  void commit() {
    if (!receiver_->wants_commit()) return;
    require(receiver_->commit(now()));
    hear();
  }
  void deliver_up() {
    if (up_.empty()) return;
    const v1::SinkMessage message = std::move(up_.front());
    up_.pop_front();
    require(sender_->receive(message, now()));
  }

  void write() {
    const std::uint32_t pages = source_.pages();
    if (chance(3)) return source_.commit(0, 1 + static_cast<std::uint32_t>(pick(pages)));  // it shrinks
    if (chance(3)) return source_.commit(pages, pages);                                    // a VACUUM
    if (chance(10))
      return source_.commit(1,
                            std::min<std::uint32_t>(400, pages + 1 + static_cast<std::uint32_t>(pick(20))));
    source_.commit(1 + static_cast<std::uint32_t>(pick(4)), pages);
  }

  void step() {
    time_ += std::chrono::microseconds{pick(20000)};
    switch (pick(16)) {
      case 0:
      case 1:
        return write();
      case 2:
      case 3:
      case 4:
        return source_.capture();
      case 5:
      case 6:
      case 7:
        return send();
      case 8:
      case 9:
      case 10:
        for (std::uint64_t n = 1 + pick(4); n > 0; --n) deliver_down();
        return;
      case 11:
        return commit();
      case 12:
      case 13:
        return deliver_up();
      case 14:
        source_.phase = chance(5) ? source_state::phase::scanning : source_state::phase::ready;
        return;
      default:
        break;
    }
    switch (pick(60)) {
      case 0:
      case 1:
        return connect();
      case 2:
      case 3:
        ++crashes_;
        copy_.crash();
        return connect();
      case 4:
        ++gaps_;
        return source_.gap();
      case 5:
        if (chance(20)) source_.change_page_size(chance(50) ? 1024 : 512);
        return;
      case 6:
        if (copy_.durable().pages.empty() || !chance(30)) return;
        tampered_ = ever_tampered_ = true;
        healed_when_tampered_ = copy_.heals;
        return copy_.corrupt(1 + static_cast<std::uint32_t>(pick(copy_.durable().pages.size())));
      default:
        return;
    }
  }

  void check() {
    // Nobody touched the copy: then every transaction fits, and every heal arrives where it should, at first
    // try.
    if (!ever_tampered_) {
      ASSERT_EQ(copy_.refused, 0u);
    }
    if (copy_.changes == checked_) return;
    checked_ = copy_.changes;
    const model_copy_content& copy = copy_.durable();
    if (!copy.exists) {
      ASSERT_EQ(acknowledged_, 0u);
      return;
    }
    ASSERT_EQ(test::hash_of(copy.pages), copy.hashes.combined());
    const std::uint64_t number = source_.number_of(copy.hashes.combined());
    if (tampered_) {
      if (copy_.heals == healed_when_tampered_ || number == 0) return;
      tampered_ = false;
    }
    ASSERT_NE(number, 0u) << "the copy shows what was never committed";
    ASSERT_GE(number, acknowledged_) << "the copy is behind its acknowledgement";
  }

  // The application pauses, the link works: the copy catches up and the stream can be drained.
  void settle() {
    source_.phase = source_state::phase::ready;
    settling_ = true;
    while (source_.uncaptured() > 0) source_.capture();
    sender_->drain();
    for (int i = 0; i < 20000 && !receiver_->drained() && !::testing::Test::HasFatalFailure(); ++i) {
      time_ += 2ms;
      send();
      deliver_down();
      commit();
      deliver_up();
      check();
    }
    if (::testing::Test::HasFatalFailure()) return;
    ASSERT_TRUE(receiver_->drained())
        << "the stream did not come to rest: " << to_string(receiver_->progress().now) << ", "
        << receiver_->progress().reason;
    ASSERT_EQ(copy_.durable().pages, source_.truth());
  }

  using model_copy_content = test::model_copy::content;

  std::mt19937_64 random_;
  test::model_database source_;
  test::model_copy copy_;
  std::optional<source_session> sender_;
  std::optional<sink_session> receiver_;
  std::deque<v1::SourceMessage> down_;
  std::deque<v1::SinkMessage> up_;
  std::chrono::nanoseconds time_ = 1h;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t acknowledged_in_stream_ = 0;
  std::uint64_t healed_when_tampered_ = 0;
  std::uint64_t gaps_ = 0;
  std::uint64_t crashes_ = 0;
  std::uint64_t checked_ = 0;
  bool settling_ = false;
  bool tampered_ = false;
  bool ever_tampered_ = false;
};

TEST(channel_sim, copy_always_shows_a_committed_image_not_behind_its_acknowledgement) {
  const char* one = std::getenv("UNDERSTUDY_SIM_SEED");
  const std::uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const std::uint64_t seeds = one != nullptr ? 1 : std::getenv("UNDERSTUDY_SOAK") != nullptr ? 50000 : 2000;
  std::uint64_t heals = 0;
  std::uint64_t gaps = 0;
  std::uint64_t crashes = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("UNDERSTUDY_SIM_SEED=" + std::to_string(seed));
    world each{seed};
    if (!HasFatalFailure()) each.run(600);
    ASSERT_FALSE(HasFatalFailure());
    heals += each.heals();
    gaps += each.gaps();
    crashes += each.crashes();
  }
  RecordProperty("heals", std::to_string(heals));
  std::printf("%llu worlds: %llu heals, %llu gaps, %llu crashes\n", static_cast<unsigned long long>(seeds),
              static_cast<unsigned long long>(heals), static_cast<unsigned long long>(gaps),
              static_cast<unsigned long long>(crashes));
  if (one != nullptr) return;
  EXPECT_GT(heals, seeds);  // worlds in which nothing happens would prove nothing
}

}  // namespace
}  // namespace understudy::channel
