#pragma once

#include <memory>
#include <string>

#include <grpcpp/channel.h>

#include "common/channel/database_streams.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/agent_process.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/timed_sink.hpp"
#include "tests/support/wait.hpp"

namespace understudy::bench {

constexpr const char* bench_catalog = "bench";

inline std::string protects_database(const std::string& path) {
  return fmt::format("[[database]]\ncatalog = \"{}\"\npath = \"{}\"\n", bench_catalog, path);
}

// The stream of the agent's database into a sink of this process, in step on return.
class database_link {
 public:
  database_link(const agent_process& agent, std::shared_ptr<timed_sink> sink) : sink_(std::move(sink)) {
    stream_ = channel::start_database_replication(agent.channel(), bench_catalog, sink_, {});
    const bool in_step = test::wait_until(
        [&] {
          const auto progress = stream_->progress();
          return progress.now == channel::database_progress::phase::streaming &&
                 static_cast<std::uint64_t>(sink_->durable_heals()) >= progress.heals;
        },
        std::chrono::minutes{2}, std::chrono::milliseconds{1});
    if (!in_step) give_up("the stream does not come in step: " + stream_->progress().reason);
  }

  // Until `count` transactions have become durable since the sink last forgot; false: they did not in time.
  bool wait_durable(std::size_t count) const {
    return test::wait_until([&] { return sink_->durable() >= count; }, std::chrono::seconds{20});
  }
  channel::database_progress progress() const { return stream_->progress(); }
  // Both directions, as messages: without gRPC's and the network's own framing.
  std::uint64_t traffic() const {
    const auto progress = stream_->progress();
    return progress.received_bytes + progress.sent_bytes;
  }

 private:
  std::shared_ptr<timed_sink> sink_;
  std::unique_ptr<channel::database_stream> stream_;
};

}  // namespace understudy::bench
