// The feed of file changes: how long after a change is durable a reader has it, over gRPC on loopback, and
// what readers cost those who apply. The tree is on the disk of $TMPDIR.
//   feed_bench [changes]

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "agent-failover/api/change_feed_service.hpp"
#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "common/files/digest.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/samples.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/change_feed.grpc.pb.h"
#include "understudy/v1/files.pb.h"

namespace understudy::bench {
namespace {

using clock = std::chrono::system_clock;  // what a change says of itself
constexpr int readers = 8;

v1::FileChange put_of(int i) {
  v1::FileChange change;
  change.set_sequence(1);
  v1::FilePut& put = *change.mutable_put();
  put.set_content(std::string(4000, 'x'));
  put.mutable_entry()->set_path(fmt::format("d{}/{}", i % 10, i));
  put.mutable_entry()->set_kind(v1::FILE_KIND_REGULAR);
  put.mutable_entry()->set_mode(0644);
  put.mutable_entry()->set_size(put.content().size());
  return change;
}

double ms_since(clock::time_point then) {
  return std::chrono::duration<double, std::milli>(clock::now() - then).count();
}

clock::time_point applied_at(const v1::WatchFilesResponse& change) {
  return clock::time_point(
      std::chrono::duration_cast<clock::duration>(std::chrono::seconds(change.applied_at().seconds()) +
                                                  std::chrono::nanoseconds(change.applied_at().nanos())));
}

class feed_on_loopback {
 public:
  feed_on_loopback()
      : service_(api::make_change_feed_service(
            [](const std::string&) { return absl::NotFoundError("no such server"); },
            [this](const std::string&) -> absl::StatusOr<api::followed_files> {
              return api::followed_files{.feed = feed, .bases = {"/srv"}};
            })) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::ChangeFeed::NewStub(
        grpc::CreateChannel(fmt::format("127.0.0.1:{}", port), grpc::InsecureChannelCredentials()));
  }
  ~feed_on_loopback() { server_->Shutdown(std::chrono::system_clock::now()); }

  // Begun when it returns.
  std::unique_ptr<grpc::ClientReader<v1::WatchFilesResponse>> watch(grpc::ClientContext& context) {
    v1::WatchFilesRequest request;
    request.set_server("pbx");
    auto reader = stub_->WatchFiles(&context, request);
    v1::WatchFilesResponse first;
    if (!reader->Read(&first)) give_up("the feed ended");
    return reader;
  }

  const std::shared_ptr<files::file_feed> feed = std::make_shared<files::file_feed>();

 private:
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ChangeFeed::Stub> stub_;
};

std::unique_ptr<files::file_tree_sink> open_sink(const std::string& directory,
                                                 std::shared_ptr<files::file_feed> feed) {
  files::tree_sink_options options;
  options.tree = directory + "/tree";
  options.beside = directory;
  options.name = "files-0";
  options.what.base = "/srv";
  options.what.include = {{.subdirectory = ".", .types = {"*"}, .recursive = true, .ignore_case = false}};
  options.feed = std::move(feed);
  auto opened = files::file_tree_sink::open(os::posix_file_system(), std::move(options));
  if (!opened.ok()) give_up(std::string(message_of(opened.status())));
  return *std::move(opened);
}

// Each applied alone, as single files are; how long each took.
samples apply_all(files::file_tree_sink& sink, int changes, std::chrono::milliseconds pause) {
  samples taken;
  for (int i = 0; i < changes; ++i) {
    const v1::FileChange change = put_of(i);
    std::vector<v1::FileRefusal> refusals;
    const auto began = clock::now();
    if (!sink.apply(std::span(&change, 1), refusals).ok() || !refusals.empty()) give_up("it is not applied");
    taken.add(ms_since(began));
    std::this_thread::sleep_for(pause);
  }
  return taken;
}

std::string in_ms(const samples& of) {
  return fmt::format("p50 {:.2f}, p99 {:.2f}, max {:.2f} ms", of.median(), of.percentile(0.99),
                     of.percentile(1));
}

void lag_and_cost(int changes) {
  constexpr std::chrono::milliseconds pause{2};
  samples without;
  {
    const test::temporary_directory place;
    without = apply_all(*open_sink(place.path(), nullptr), changes, pause);
  }
  feed_on_loopback loopback;
  const test::temporary_directory place;
  const auto sink = open_sink(place.path(), loopback.feed);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::thread> threads;
  samples lags;  // of the first reader
  for (int r = 0; r < readers; ++r) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    threads.emplace_back([&, r, reader = loopback.watch(*contexts.back())] {
      v1::WatchFilesResponse change;
      for (int i = 0; i < changes && reader->Read(&change);) {
        if (change.kind() != v1::FILE_CHANGE_KIND_PUT) continue;
        if (r == 0) lags.add(ms_since(applied_at(change)));
        ++i;
      }
    });
  }
  grpc::ClientContext of_one_who_never_reads;
  const auto stuck = loopback.watch(of_one_who_never_reads);
  const samples with = apply_all(*sink, changes, pause);
  for (std::thread& one : threads) one.join();
  for (auto& context : contexts) context->TryCancel();
  of_one_who_never_reads.TryCancel();
  print({.what = fmt::format("file durable in the copy -> read from the feed by one of {} readers", readers),
         .ours = in_ms(lags),
         .goal = "p99 <= 10 ms",
         .met = lags.percentile(0.99) <= 10});
  print({.what = fmt::format("a new file applied durably, with {} readers and one who never reads", readers),
         .ours = in_ms(with),
         .baseline = "without a feed: " + in_ms(without),
         .ratio = fmt::format("{:.2f}", with.median() / without.median())});
}

void rate(int changes) {
  feed_on_loopback loopback;
  grpc::ClientContext context;
  const auto reader = loopback.watch(context);
  const auto base = std::make_shared<const std::string>("/srv");
  double adding = 0;
  const auto began = clock::now();
  v1::WatchFilesResponse read;
  for (int done = 0; done < changes;) {
    constexpr int together = 1000;
    std::vector<files::applied_change> batch(together);
    for (int i = 0; i < together; ++i) {
      batch[static_cast<std::size_t>(i)].kind = files::applied_kind::put;
      batch[static_cast<std::size_t>(i)].base = base;
      batch[static_cast<std::size_t>(i)].path = fmt::format("d{}/message{}.wav", i % 10, done + i);
    }
    const auto add_began = clock::now();
    loopback.feed->add(std::move(batch));
    adding += ms_since(add_began);
    for (int i = 0; i < together;) {
      if (!reader->Read(&read) || read.kind() == v1::FILE_CHANGE_KIND_GAP) give_up("changes are missing");
      if (read.kind() == v1::FILE_CHANGE_KIND_PUT) ++i;
    }
    done += together;
  }
  const double took = ms_since(began);
  context.TryCancel();
  print({.what = "file changes read from the feed by one reader, 1,000 at a time",
         .ours = fmt::format("{:.0f} per second", changes / took * 1000)});
  print({.what = "what the feed adds to the applying of a file, 1,000 at a time",
         .ours = fmt::format("{:.2f} us", adding * 1000 / changes)});
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  const int changes = argc > 1 ? std::atoi(argv[1]) : 1000;
  understudy::bench::lag_and_cost(changes);
  understudy::bench::rate(changes * 100);
}
