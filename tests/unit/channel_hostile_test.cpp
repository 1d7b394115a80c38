// Messages that an honest end would not send: both sessions end the stream or ask for a heal, and keep their
// state.

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <random>

#include "common/channel/page_coding.hpp"
#include "common/channel/sink_session.hpp"
#include "common/channel/source_session.hpp"
#include "common/channel/wire.hpp"
#include "tests/support/channel/model_copy.hpp"
#include "tests/support/channel/model_database.hpp"

namespace understudy::channel {
namespace {

v1::TransactionPart part_of(std::uint32_t page_size, std::vector<std::uint32_t> numbers, std::size_t bytes) {
  v1::TransactionPart part;
  part.set_page_size(page_size);
  for (const std::uint32_t number : numbers) part.add_page_numbers(number);
  part.set_pages(std::string(bytes, 'x'));
  return part;
}

TEST(channel_page_coding, refuses_what_does_not_fit_together) {
  EXPECT_TRUE(decode_pages(part_of(512, {1, 2}, 1024)).ok());
  EXPECT_FALSE(decode_pages(part_of(512, {1, 2}, 1023)).ok());
  EXPECT_FALSE(decode_pages(part_of(500, {1}, 500)).ok());
  EXPECT_FALSE(decode_pages(part_of(0, {}, 0)).ok());
  EXPECT_FALSE(decode_pages(part_of(512, {0}, 512)).ok());
  EXPECT_FALSE(decode_pages(part_of(512, {4294967295u}, 512)).ok());
  EXPECT_FALSE(decode_pages(part_of(4096, {262145}, 4096)).ok()) << "the lock page";
  EXPECT_FALSE(decode_pages(part_of(65536, std::vector<std::uint32_t>(17, 1), 17 << 16)).ok())
      << "too much at once";
}

TEST(channel_page_coding, compressed_pages_come_back_and_bombs_do_not_open) {
  v1::TransactionPart part = part_of(4096, {5, 9}, 8192);
  compress(part);
  ASSERT_EQ(part.encoding(), v1::TransactionPart::ENCODING_ZSTD);
  ASSERT_LT(part.pages().size(), 200u);
  const auto pages = decode_pages(part);
  ASSERT_TRUE(pages.ok());
  EXPECT_EQ((*pages)[1].number, 9u);
  EXPECT_EQ((*pages)[1].bytes, std::string(4096, 'x'));

  const std::string zeros(256u << 20, '\0');
  std::string bomb(ZSTD_compressBound(zeros.size()), '\0');
  bomb.resize(ZSTD_compress(bomb.data(), bomb.size(), zeros.data(), zeros.size(), 1));
  part.set_pages(bomb);
  EXPECT_FALSE(decode_pages(part).ok());
}

TEST(channel_compression_gauge, pays_on_a_slow_wire_with_data_that_shrinks_and_not_on_a_fast_one) {
  const std::string text(1 << 20, 'a');
  compression_gauge slow;
  compression_gauge fast;
  for (int i = 0; i < 20; ++i) {
    slow.measure(text);
    fast.measure(text);
    slow.sent(1 << 20, 0.1);       // 10 MB/s
    fast.sent(1 << 20, 0.000524);  // 2 GB/s
  }
  EXPECT_TRUE(slow.pays());
  EXPECT_FALSE(fast.pays());
}

// A conversation that an honest pair has: comparison, heal, transactions, drain.
struct conversation {
  std::vector<v1::SourceMessage> down;
  std::vector<v1::SinkMessage> up;
};

void prepare(test::model_database& source, test::model_copy& copy) {
  source.commit(0, 200);
  source.capture();
  if (copy.durable().exists) return;
  sink_session receiver{copy};
  source_session sender{source};
  moment now{};
  (void)receiver.start(now);
  for (int i = 0; i < 200; ++i) {
    now.steady += std::chrono::milliseconds{1};
    while (auto up = receiver.next()) (void)sender.receive(*up, now);
    const auto down = sender.next(now);
    if (down.ok() && *down) (void)receiver.receive(**down, now);
    if (receiver.wants_commit()) (void)receiver.commit(now);
  }
  source.commit(20, 230);
  source.capture();
}

// Lets both ends talk; `spoil` may change each message on its way. False: a session gave up.
bool talk(test::model_database& source, test::model_copy& copy, std::mt19937_64& random,
          const std::function<void(google::protobuf::Message&)>& spoil) {
  source_session sender{source};
  sink_session receiver{copy};
  moment now{};
  if (!receiver.start(now).ok()) return false;
  for (int i = 0; i < 150; ++i) {
    now.steady += std::chrono::milliseconds{20};
    if (random() % 8 == 0) source.commit(3, source.pages());
    source.capture();
    if (i == 100) sender.drain();
    while (auto up = receiver.next()) {
      spoil(*up);
      if (!sender.receive(*up, now).ok()) return false;
    }
    const auto down = sender.next(now);
    if (!down.ok()) return false;
    if (*down) {
      v1::SourceMessage message = **down;
      spoil(message);
      if (!receiver.receive(message, now).ok()) return false;
    }
    if (receiver.wants_commit() && !receiver.commit(now).ok()) return false;
  }
  return true;
}

TEST(channel_hostile, spoiled_messages_never_lead_to_an_image_that_was_not_committed) {
  const google::protobuf::LogSilencer quiet;  // of spoiled text
  int survived = 0;
  int given_up = 0;
  std::uint64_t spoiled = 0;
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random{seed};
    test::model_database source{seed};
    test::model_copy copy;
    prepare(source, copy);
    const auto spoil = [&](google::protobuf::Message& message) {
      if (random() % 12 != 0) return;
      std::string bytes = message.SerializeAsString();
      for (std::uint64_t n = 1 + random() % 3; n > 0 && !bytes.empty(); --n) {
        // Mostly near the front, where the fields are, not among the page images.
        const std::size_t range = random() % 2 == 0 ? std::min<std::size_t>(bytes.size(), 24) : bytes.size();
        bytes[random() % range] = static_cast<char>(random());
      }
      if (random() % 10 == 0) bytes.resize(random() % (bytes.size() + 1));
      // Bytes that do not parse end the call inside gRPC; those that do are for the sessions.
      const std::unique_ptr<google::protobuf::Message> candidate{message.New()};
      if (!candidate->ParseFromString(bytes)) return;
      message.CopyFrom(*candidate);
      ++spoiled;
    };
    (talk(source, copy, random, spoil) ? survived : given_up)++;
    const auto& durable = copy.durable();
    ASSERT_EQ(test::hash_of(durable.pages), durable.hashes.combined());
    ASSERT_NE(source.number_of(durable.hashes.combined()), 0u);
  }
  EXPECT_GT(survived, 20);
  EXPECT_GT(given_up, 20);
  std::printf("%llu spoiled messages: %d streams survived, %d gave up\n",
              static_cast<unsigned long long>(spoiled), survived, given_up);
}

TEST(channel_wire, text_is_cut_and_made_valid) {
  EXPECT_EQ(clean_text("Zürich → ok"), "Zürich → ok");
  EXPECT_EQ(clean_text("a\xff\xc3 b\n"), "a?? b?");
  EXPECT_LE(clean_text(std::string(1000, 'x')).size(), REASON_BYTES);
}

class sink_side : public ::testing::Test {
 protected:
  sink_side() { EXPECT_TRUE(session_.start({}).ok()); }
  absl::Status give(const std::function<void(v1::SourceMessage&)>& fill) {
    v1::SourceMessage message;
    fill(message);
    return session_.receive(message, {});
  }
  test::model_copy copy_;
  sink_session session_{copy_};
};

TEST_F(sink_side, refuses_questions_without_measure) {
  for (const auto& [block, firsts, each] : {std::tuple{1u, 1u, 4097u},
                                            {4096u, 4097u, 1u},
                                            {3u, 1u, 1u},
                                            {0u, 1u, 1u},
                                            {8192u, 1u, 1u},
                                            {1u, 4096u, 4294967295u}}) {
    EXPECT_FALSE(give([&, b = block, f = firsts, e = each](v1::SourceMessage& message) {
                   message.mutable_question()->set_block_pages(b);
                   for (std::uint32_t i = 0; i < f; ++i) message.mutable_question()->add_first_pages(1);
                   message.mutable_question()->set_blocks_each(e);
                 }).ok());
  }
  EXPECT_FALSE(give([](v1::SourceMessage& message) {
                 message.mutable_question()->set_block_pages(8);
                 message.mutable_question()->add_first_pages(2);
                 message.mutable_question()->set_blocks_each(1);
               }).ok());
}

TEST_F(sink_side, refuses_what_comes_out_of_order) {
  EXPECT_FALSE(give([](v1::SourceMessage& m) { m.mutable_part()->set_transaction(1); }).ok());
  EXPECT_FALSE(give([](v1::SourceMessage& m) { m.mutable_heal_end(); }).ok());
  EXPECT_FALSE(give([](v1::SourceMessage& m) { m.mutable_drained(); }).ok());
  EXPECT_FALSE(give([](v1::SourceMessage& m) { m.mutable_in_step(); }).ok()) << "in step with nothing";
  EXPECT_FALSE(give([](v1::SourceMessage& m) { m.mutable_heal_begin()->set_page_size(1000); }).ok());
  EXPECT_TRUE(give([](v1::SourceMessage& m) { m.mutable_heal_begin()->set_page_size(512); }).ok());
  EXPECT_FALSE(give([](v1::SourceMessage& m) { m.mutable_heal_begin()->set_page_size(512); }).ok());
  EXPECT_FALSE(give([](v1::SourceMessage& m) { *m.mutable_part() = part_of(512, {4294967294u}, 512); }).ok())
      << "a page terabytes away";
}

TEST(channel_hostile, a_transaction_counts_once_and_only_in_order) {
  test::model_database source{3};
  test::model_copy copy;
  prepare(source, copy);
  sink_session session{copy};
  ASSERT_TRUE(session.start({}).ok());
  v1::SourceMessage message;
  message.mutable_in_step()->set_transaction(10);
  ASSERT_TRUE(session.receive(message, {}).ok());
  while (session.next()) {
  }
  const std::string page(512, 'z');
  const sqlite::page_hash before = copy.state().combined;
  const auto transaction = [&](std::uint64_t number) {
    *message.mutable_part() = part_of(512, {1}, 0);
    message.mutable_part()->set_pages(page);
    message.mutable_part()->set_transaction(number);
    v1::TransactionEnd& end = *message.mutable_part()->mutable_end();
    end.set_database_pages(copy.state().database_pages);
    to_wire(copy.state().combined, end.mutable_hash_before());
    to_wire(copy.state().combined ^ test::hash_of(1, copy.durable().pages[0]) ^ test::hash_of(1, page),
            end.mutable_hash_after());
    return session.receive(message, {});
  };
  EXPECT_TRUE(transaction(10).ok());
  EXPECT_FALSE(session.wants_commit()) << "have it already";
  EXPECT_EQ(copy.state().combined, before);
  EXPECT_TRUE(transaction(12).ok());
  const auto wanted = session.next();
  ASSERT_TRUE(wanted.has_value());
  EXPECT_TRUE(wanted->has_heal_wanted()) << "one is missing";
  EXPECT_TRUE(transaction(11).ok());
  EXPECT_FALSE(session.wants_commit()) << "nothing counts before Restart";
  EXPECT_EQ(copy.state().combined, before);
}

// A copy that would believe any size: what reaches it got past the session.
class believing_copy final : public test::model_copy {
 public:
  absl::Status end_transaction(const channel::transaction_header&) override {
    ++believed;
    return absl::OkStatus();
  }
  absl::Status end_heal(std::uint32_t, const sqlite::page_hash&) override {
    ++believed;
    return absl::OkStatus();
  }
  // What it says it has.
  void give(std::uint32_t pages, std::uint32_t page_size) {
    have_ = {.exists = true, .page_size = page_size, .database_pages = pages, .combined = {}};
  }
  channel::sink_state state() const override { return have_.exists ? have_ : model_copy::state(); }
  int believed = 0;

 private:
  channel::sink_state have_;
};

TEST(channel_hostile, a_database_grows_only_by_pages_that_came) {
  const auto end_of_heal = [](std::uint32_t came, std::uint32_t announced) {
    believing_copy copy;
    sink_session session{copy};
    EXPECT_TRUE(session.start({}).ok());
    v1::SourceMessage message;
    message.mutable_heal_begin()->set_page_size(512);
    message.mutable_heal_begin()->set_database_pages(announced);
    EXPECT_TRUE(session.receive(message, {}).ok());
    for (std::uint32_t n = 1; n <= came; ++n) {
      *message.mutable_part() = part_of(512, {n}, 512);
      EXPECT_TRUE(session.receive(message, {}).ok());
    }
    v1::DatabaseImage& image = *message.mutable_heal_end()->mutable_image();
    image.set_exists(true);
    image.set_page_size(512);
    image.set_pages(announced);
    const absl::Status status = session.receive(message, {});
    EXPECT_EQ(copy.believed, status.ok() ? 1 : 0);
    return status;
  };
  EXPECT_TRUE(end_of_heal(3, 3).ok());
  EXPECT_TRUE(end_of_heal(3, 4).ok()) << "the lock page does not come";
  EXPECT_TRUE(absl::IsInvalidArgument(end_of_heal(3, 5)));
  EXPECT_TRUE(absl::IsInvalidArgument(end_of_heal(0, 4294967294u)));

  believing_copy copy;
  const auto end_of_transaction = [&](std::uint32_t announced) {
    copy.believed = 0;
    sink_session session{copy};
    EXPECT_TRUE(session.start({}).ok());
    v1::SourceMessage message;
    message.mutable_in_step()->set_transaction(10);
    EXPECT_TRUE(session.receive(message, {}).ok());
    *message.mutable_part() = part_of(512, {1}, 512);
    message.mutable_part()->set_transaction(11);
    message.mutable_part()->mutable_end()->set_database_pages(announced);
    const absl::Status status = session.receive(message, {});
    EXPECT_EQ(copy.believed, status.ok() ? 1 : 0);
    return status;
  };
  copy.give(100, 512);
  EXPECT_TRUE(end_of_transaction(102).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(end_of_transaction(103)));
  EXPECT_TRUE(absl::IsInvalidArgument(end_of_transaction(4294967294u)));
}

// A copy that is equal already has commits of which nobody says again when they were seen.
TEST(channel_hostile, coming_in_step_is_no_commit) {
  believing_copy copy;
  copy.give(100, 512);
  sink_session session{copy};
  EXPECT_TRUE(session.start({}).ok());
  const moment now{.steady = {}, .wall = std::chrono::system_clock::now()};
  v1::SourceMessage message;
  message.mutable_in_step()->set_transaction(10);
  EXPECT_TRUE(session.receive(message, now).ok());
  EXPECT_EQ(session.progress().durable_captured_at, std::chrono::system_clock::time_point{});
  // The source's clock is an hour behind ours.
  to_wire(now.wall - std::chrono::hours(1), message.mutable_heartbeat()->mutable_now());
  message.mutable_heartbeat()->set_transaction(10);
  message.mutable_heartbeat()->set_newest(10);
  EXPECT_TRUE(session.receive(message, now).ok());
  EXPECT_LT(session.progress().current_at, now.wall - std::chrono::minutes(59));
}

TEST(channel_hostile, source_refuses_answers_that_nobody_asked_for) {
  test::model_database source{1};
  source.commit(0, 100);
  source.capture();
  source_session session{source};
  v1::SinkMessage answer;
  answer.mutable_answer()->set_block_pages(4096);
  v1::SinkMessage have;
  have.mutable_have()->set_exists(true);
  have.mutable_have()->set_page_size(512);
  have.mutable_have()->set_pages(4294967295u);
  EXPECT_TRUE(session.receive(have, {}).ok());
  EXPECT_FALSE(session.receive(have, {}).ok()) << "twice";
  EXPECT_FALSE(session.receive(answer, {}).ok());
  v1::SinkMessage acknowledgement;
  acknowledgement.mutable_acknowledgement()->set_durable(99);
  EXPECT_FALSE(session.receive(acknowledgement, {}).ok());
}

}  // namespace
}  // namespace understudy::channel
