// The threads and the gRPC sides of database streams, over loopback, with databases that exist only in
// memory.

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "common/channel/database_service.hpp"
#include "common/channel/database_streams.hpp"
#include "common/channel/grpc_keepalive.hpp"
#include "common/channel/sink_runner.hpp"
#include "common/channel/source_runner.hpp"
#include "common/channel/wire.hpp"
#include "tests/support/channel/model_copy.hpp"
#include "tests/support/channel/model_database.hpp"
#include "tests/support/wait.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::channel {
namespace {

using namespace std::chrono_literals;
using phase = database_progress::phase;
using clock = std::chrono::steady_clock;

// The model behind a lock, as a capture's thread and a stream's thread use it.
class shared_database final : public database_source {
 public:
  explicit shared_database(std::uint32_t pages) : model_{42} {
    model_.commit(0, pages);
    model_.capture();
  }
  void commit(std::uint32_t changes) {
    const std::lock_guard lock{mutex_};
    model_.commit(changes, model_.pages());
    model_.capture();
  }
  void gap() {
    const std::lock_guard lock{mutex_};
    model_.gap();
  }
  test::image truth() const {
    const std::lock_guard lock{mutex_};
    return model_.truth();
  }
  std::atomic<bool> closed{false};

  source_state state() const override {
    const std::lock_guard lock{mutex_};
    return model_.state();
  }
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override {
    const std::lock_guard lock{mutex_};
    return model_.hashes(first, count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block,
                                              std::uint32_t count) const override {
    const std::lock_guard lock{mutex_};
    return model_.block_hashes(first, block, count);
  }
  absl::StatusOr<page_image> read_page(std::uint32_t number) const override {
    const std::lock_guard lock{mutex_};
    return model_.read_page(number);
  }
  absl::StatusOr<std::unique_ptr<source_subscription>> subscribe() override {
    const std::lock_guard lock{mutex_};
    auto inner = model_.subscribe();
    if (!inner.ok()) return inner.status();
    return std::make_unique<guarded>(*this, *std::move(inner));
  }

 private:
  class guarded final : public source_subscription {
   public:
    guarded(shared_database& owner, std::unique_ptr<source_subscription> inner)
        : owner_{owner}, inner_{std::move(inner)} {}
    ~guarded() override {
      const std::lock_guard lock{owner_.mutex_};
      inner_.reset();
    }
    const source_state& base() const override { return inner_->base(); }
    source_event next(clock::time_point deadline) override {
      const std::lock_guard lock{owner_.mutex_};
      if (owner_.closed) return {.what = source_event::kind::closed, .transaction = {}, .reason = "removed"};
      return inner_->next(deadline);
    }
    void set_ready_callback(std::function<void()> callback) override {
      const std::lock_guard lock{owner_.mutex_};
      inner_->set_ready_callback(std::move(callback));
    }

   private:
    shared_database& owner_;
    std::unique_ptr<source_subscription> inner_;
  };

  mutable std::mutex mutex_;
  test::model_database model_;
};

class agent final : public v1::PrimaryAgent::Service {
 public:
  agent() {
    replicate.find = [this](const std::string& catalog) -> absl::StatusOr<std::shared_ptr<database_source>> {
      if (catalog != "shop") return absl::NotFoundError("no such catalog");
      return source;
    };
    restore.begin = [this](const v1::RestoreDatabaseRequest& first,
                           const work_listener&) -> absl::StatusOr<std::unique_ptr<database_restore>> {
      if (first.epoch() != 7) return absl::FailedPreconditionError("not fenced");
      class one final : public database_restore {
       public:
        explicit one(agent& owner) : owner_{owner} {}
        database_sink& sink() override { return owner_.restored; }
        absl::StatusOr<v1::Adopted> adopt(const v1::AdoptImage& request) override {
          if (request.image().pages() == 0) return absl::DataLossError("another image");
          v1::Adopted adopted;
          adopted.set_set_aside("/aside");
          return adopted;
        }

       private:
        agent& owner_;
      };
      return std::make_unique<one>(*this);
    };
    grpc::ServerBuilder builder;
    add_keepalive(builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server = builder.BuildAndStart();
    grpc::ChannelArguments arguments;
    add_keepalive(arguments);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port),
                                        grpc::InsecureChannelCredentials(), arguments);
  }
  grpc::Status ReplicateDatabase(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest>* call) override {
    const calls count{active};
    return serve(replicate, *context, *call);
  }
  grpc::Status RestoreDatabase(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>* call) override {
    const calls count{active};
    return serve(restore, *context, *call);
  }

  struct calls {
    explicit calls(std::atomic<int>& number) : number_{number} { ++number_; }
    ~calls() { --number_; }
    std::atomic<int>& number_;
  };

  std::shared_ptr<shared_database> source = std::make_shared<shared_database>(3000);
  test::model_copy restored;
  replicate_database_service replicate;
  restore_database_service restore;
  std::atomic<int> active{0};
  std::unique_ptr<grpc::Server> server;
  std::shared_ptr<grpc::Channel> channel;
};

// What the callbacks said.
struct listener {
  std::mutex mutex;
  std::vector<database_progress> seen;
  std::vector<absl::Status> ends;
  stream_callbacks callbacks() {
    return {.on_progress =
                [this](const database_progress& progress) {
                  const std::lock_guard lock{mutex};
                  seen.push_back(progress);
                },
            .on_end =
                [this](const absl::Status& status) {
                  const std::lock_guard lock{mutex};
                  ends.push_back(status);
                }};
  }
  bool ended() {
    const std::lock_guard lock{mutex};
    return !ends.empty();
  }
  absl::Status end() {
    const std::lock_guard lock{mutex};
    return ends.at(0);
  }
  phase last() {
    const std::lock_guard lock{mutex};
    return seen.empty() ? phase::waiting : seen.back().now;
  }
};

bool has_durable(database_stream& stream, std::uint64_t number) {
  return test::wait_until([&] { return stream.progress().durable >= number; }, 20s);
}

TEST(channel_grpc, copies_streams_heals_and_drains) {
  agent primary;
  auto copy = std::make_shared<test::model_copy>();
  listener heard;
  auto stream = start_database_replication(primary.channel, "shop", copy, heard.callbacks());
  ASSERT_TRUE(has_durable(*stream, 1));
  for (int i = 0; i < 200; ++i) primary.source->commit(3);
  ASSERT_TRUE(has_durable(*stream, 201));
  primary.source->gap();
  primary.source->commit(3);
  ASSERT_TRUE(has_durable(*stream, 202));
  EXPECT_EQ(stream->progress().restarts, 1u);
  stream->drain();
  ASSERT_TRUE(test::wait_until([&] { return heard.last() == phase::drained; }, 20s));
  stream->stop();
  ASSERT_TRUE(test::wait_until([&] { return heard.ended(); }, 5s));
  EXPECT_TRUE(heard.end().ok()) << heard.end().ToString();
  stream.reset();
  EXPECT_EQ(copy->durable().pages, primary.source->truth());
  EXPECT_EQ(heard.ends.size(), 1u);
}

TEST(channel_grpc, a_commit_is_durable_within_milliseconds) {
  agent primary;
  auto copy = std::make_shared<test::model_copy>();
  auto stream = start_database_replication(primary.channel, "shop", copy, {});
  ASSERT_TRUE(has_durable(*stream, 1));
  std::vector<double> milliseconds;
  for (std::uint64_t number = 2; number <= 200; ++number) {
    const auto before = clock::now();
    primary.source->commit(3);
    ASSERT_TRUE(test::wait_until([&] { return stream->progress().durable >= number; }, 5000ms, 0ms));
    milliseconds.push_back(std::chrono::duration<double, std::milli>(clock::now() - before).count());
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf("commit -> acknowledged over loopback: p50 %.3f ms, p99 %.3f ms\n", milliseconds[100],
              milliseconds[196]);
}

TEST(channel_grpc, stopping_is_prompt_on_both_sides) {
  agent primary;
  auto copy = std::make_shared<test::model_copy>();
  listener heard;
  auto stream = start_database_replication(primary.channel, "shop", copy, heard.callbacks());
  ASSERT_TRUE(has_durable(*stream, 1));
  const auto before = clock::now();
  stream->stop();
  stream.reset();
  std::printf("stopped after %.1f ms\n",
              std::chrono::duration<double, std::milli>(clock::now() - before).count());
  EXPECT_TRUE(absl::IsCancelled(heard.end())) << heard.end().ToString();
  EXPECT_TRUE(test::wait_until([&] { return primary.active == 0; }, 2s));
}

TEST(channel_grpc, the_reason_of_the_server_reaches_the_client) {
  agent primary;
  auto copy = std::make_shared<test::model_copy>();
  listener unknown;
  listener removed;
  auto stream = start_database_replication(primary.channel, "nonsense", copy, unknown.callbacks());
  ASSERT_TRUE(test::wait_until([&] { return unknown.ended(); }, 5s));
  EXPECT_TRUE(absl::IsNotFound(unknown.end())) << unknown.end().ToString();
  stream = start_database_replication(primary.channel, "shop", copy, removed.callbacks());
  ASSERT_TRUE(has_durable(*stream, 1));
  primary.source->closed = true;
  primary.source->commit(1);
  ASSERT_TRUE(test::wait_until([&] { return removed.ended(); }, 5s));
  EXPECT_TRUE(absl::IsUnavailable(removed.end())) << removed.end().ToString();
  EXPECT_THAT(removed.end().ToString(), testing::HasSubstr("removed"));
  EXPECT_TRUE(test::wait_until([&] { return primary.active == 0; }, 2s));
}

TEST(channel_grpc, a_shutdown_of_the_server_ends_the_stream) {
  agent primary;
  auto copy = std::make_shared<test::model_copy>();
  listener heard;
  auto stream = start_database_replication(primary.channel, "shop", copy, heard.callbacks());
  ASSERT_TRUE(has_durable(*stream, 1));
  primary.server->Shutdown(std::chrono::system_clock::now());
  ASSERT_TRUE(test::wait_until([&] { return heard.ended(); }, 5s));
  EXPECT_FALSE(heard.end().ok());
}

TEST(channel_grpc, restores_drains_and_adopts) {
  agent primary;
  auto source = std::make_shared<shared_database>(500);
  listener heard;
  std::mutex mutex;
  std::vector<absl::StatusOr<v1::Adopted>> answers;
  auto stream = start_database_restore(primary.channel, "shop", 7, source, heard.callbacks());
  ASSERT_TRUE(test::wait_until([&] { return heard.last() == phase::streaming; }, 20s));
  source->commit(5);
  stream->drain();
  ASSERT_TRUE(test::wait_until([&] { return heard.last() == phase::drained; }, 20s));
  v1::AdoptImage image;
  image.mutable_image()->set_pages(500);
  stream->adopt(image, [&](const absl::StatusOr<v1::Adopted>& answer) {
    const std::lock_guard lock{mutex};
    answers.push_back(answer);
  });
  ASSERT_TRUE(test::wait_until([&] { return heard.ended(); }, 5s));
  ASSERT_EQ(answers.size(), 1u);
  ASSERT_TRUE(answers[0].ok()) << answers[0].status().ToString();
  EXPECT_EQ(answers[0]->set_aside(), "/aside");
  EXPECT_TRUE(heard.end().ok()) << heard.end().ToString();
  EXPECT_EQ(primary.restored.durable().pages, source->truth());
}

TEST(channel_grpc, a_refused_restore_and_a_refused_adoption_say_why) {
  agent primary;
  auto source = std::make_shared<shared_database>(50);
  listener unfenced;
  listener heard;
  std::vector<absl::StatusOr<v1::Adopted>> answers;
  auto stream = start_database_restore(primary.channel, "shop", 6, source, unfenced.callbacks());
  ASSERT_TRUE(test::wait_until([&] { return unfenced.ended(); }, 5s));
  EXPECT_TRUE(absl::IsFailedPrecondition(unfenced.end())) << unfenced.end().ToString();

  stream = start_database_restore(primary.channel, "shop", 7, source, heard.callbacks());
  stream->drain();
  ASSERT_TRUE(test::wait_until([&] { return heard.last() == phase::drained; }, 20s));
  stream->adopt({}, [&](const absl::StatusOr<v1::Adopted>& answer) { answers.push_back(answer); });
  ASSERT_TRUE(test::wait_until([&] { return heard.ended(); }, 5s));
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_TRUE(absl::IsDataLoss(answers[0].status())) << answers[0].status().ToString();
}

// A stream on which nothing ever arrives until it is closed.
class dead_stream final : public sink_stream {
 public:
  bool send(v1::SinkMessage) override { return true; }
  bool receive(v1::SourceMessage&) override {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return closed_; });
    return false;
  }
  void close() override {
    const std::lock_guard lock{mutex_};
    closed_ = true;
    changed_.notify_all();
  }
  absl::Status status() override { return absl::OkStatus(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
};

// Both directions of a stream in memory, bounded as a wire is.
struct pipe {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<v1::SourceMessage> down;
  std::deque<v1::SinkMessage> up;
  bool closed = false;
};

template <class Out, class In>
class pipe_end final : public message_stream<Out, In> {
 public:
  pipe_end(pipe& shared, std::deque<Out>& out, std::deque<In>& in) : shared_{shared}, out_{out}, in_{in} {}
  bool send(Out message) override {
    std::unique_lock lock{shared_.mutex};
    shared_.changed.wait(lock, [this] { return shared_.closed || out_.size() < 4; });
    if (shared_.closed) return false;
    out_.push_back(std::move(message));
    shared_.changed.notify_all();
    return true;
  }
  bool receive(In& message) override {
    std::unique_lock lock{shared_.mutex};
    shared_.changed.wait(lock, [this] { return shared_.closed || !in_.empty(); });
    if (in_.empty()) return false;
    message = std::move(in_.front());
    in_.pop_front();
    shared_.changed.notify_all();
    return true;
  }
  void close() override {
    const std::lock_guard lock{shared_.mutex};
    shared_.closed = true;
    shared_.changed.notify_all();
  }
  absl::Status status() override { return absl::OkStatus(); }

 private:
  pipe& shared_;
  std::deque<Out>& out_;
  std::deque<In>& in_;
};

TEST(channel_runner, a_busy_source_over_a_narrow_pipe_drains_to_the_same_image) {
  const auto source = std::make_shared<shared_database>(1500);
  test::model_copy copy;
  pipe shared;
  pipe_end<v1::SourceMessage, v1::SinkMessage> above{shared, shared.down, shared.up};
  pipe_end<v1::SinkMessage, v1::SourceMessage> below{shared, shared.up, shared.down};
  source_runner sender{source, above};
  sink_runner receiver{copy, below};
  std::thread sending{[&] { EXPECT_TRUE(sender.run().ok()); }};
  std::thread receiving{[&] { EXPECT_TRUE(receiver.run().ok()); }};
  for (int i = 0; i < 500; ++i) {
    source->commit(4);
    if (i % 100 == 50) source->gap();
  }
  receiver.drain();
  EXPECT_TRUE(test::wait_until([&] { return receiver.progress().now == phase::drained; }, 30s));
  receiver.stop();
  sending.join();
  receiving.join();
  EXPECT_EQ(copy.durable().pages, source->truth());
  EXPECT_EQ(receiver.progress().durable, 501u);
}

TEST(channel_runner, a_silent_source_is_given_up) {
  test::model_copy copy;
  dead_stream stream;
  sink_runner runner{copy, stream, {}, {.silence = 50ms}};
  const absl::Status status = runner.run();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status.ToString();
}

}  // namespace
}  // namespace understudy::channel
