// Row changes: how many are decoded in a second, and how long after its commit in the copy a change reaches a
// reader of the feed.
//   rows_bench [transactions]

#include <grpcpp/grpcpp.h>

#include <map>
#include <thread>

#include "agent-failover/api/change_feed_service.hpp"
#include "common/rows/decoder.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/samples.hpp"
#include "tests/support/rows/followed_copy.hpp"
#include "understudy/v1/change_feed.grpc.pb.h"

namespace understudy::bench {
namespace {

constexpr int rows = 100'000;
const std::string table = fmt::format(
    "CREATE TABLE extension (id INTEGER PRIMARY KEY, number TEXT, name TEXT, ring INT, since REAL);"
    "CREATE INDEX by_number ON extension (number);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {})"
    "INSERT INTO extension SELECT i, 'x'||i, 'the name of number '||i, i % 7, i / 3.0 FROM n",
    rows);

std::string update(int i, int rows_changed) {
  // Spread over the table, as calls are over extensions.
  return fmt::format("UPDATE extension SET ring = ring + 1 WHERE id % {} = {}", rows / rows_changed,
                     i * 7919 % (rows / rows_changed));
}

void decoded_in_a_second(int transactions) {
  rows::testing::recorder database({.page_size = 4096});
  if (!database.execute(table)) give_up(database.error);
  database.step();
  const auto opening = clock::now();
  auto decoder = rows::decoder::open(database.after);
  if (!decoder.ok()) give_up(std::string(message_of(decoder.status())));
  const double open_ms = milliseconds_since(opening);
  std::size_t changes = 0;
  double spent = 0;
  for (int i = 0; i < transactions; ++i) {
    if (!database.execute(update(i, 100)) || !database.step()) give_up(database.error);
    const auto began = clock::now();
    const auto status = decoder->decode(database.before, database.after, database.changed, [&](rows::change) {
      ++changes;
      return absl::OkStatus();
    });
    spent += milliseconds_since(began);
    if (!status.ok()) give_up(std::string(message_of(status)));
  }
  print({.what = fmt::format("row changes decoded, {} transactions of 100 rows on 100 pages", transactions),
         .ours = fmt::format("{:.0f} per second", static_cast<double>(changes) / spent * 1000)});
  print({.what = fmt::format("row decoder opened, {} rows in {:.0f} MiB", rows,
                             static_cast<double>(database.after.page_count()) * 4096 / (1 << 20)),
         .ours = fmt::format("{:.0f} ms", open_ms)});
}

void lag(int transactions) {
  rows::testing::followed_copy database({.page_size = 4096});
  database.begin(table);
  auto service = api::make_change_feed_service(
      [&](const std::string&) -> absl::StatusOr<std::vector<api::followed_database>> {
        return std::vector<api::followed_database>{{"db", database.past()}};
      },
      [](const std::string&) { return absl::NotFoundError("no such server"); });
  grpc::ServerBuilder builder;
  builder.RegisterService(service.get());
  auto server = builder.BuildAndStart();
  auto stub = v1::ChangeFeed::NewStub(server->InProcessChannel({}));
  grpc::ClientContext context;
  v1::WatchRowsRequest request;
  request.set_server("pbx");
  auto reader = stub->WatchRows(&context, request);
  v1::WatchRowsResponse message;
  if (!reader->Read(&message)) give_up("the feed ended");
  const std::uint64_t first = database.past()->range().last + 1;

  std::vector<clock::time_point> durable(static_cast<std::size_t>(transactions));
  std::vector<clock::time_point> read(durable.size());
  std::thread following([&] {
    for (std::size_t ended = 0; ended < read.size() && reader->Read(&message);) {
      if (!message.ends_transaction()) continue;
      read[message.transaction() - first] = clock::now();
      ++ended;
    }
  });
  for (int i = 0; i < transactions; ++i) {
    database.run(update(i, 10));
    durable[static_cast<std::size_t>(i)] = clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  following.join();
  context.TryCancel();
  samples lags;
  for (std::size_t i = 0; i < read.size(); ++i)
    lags.add(std::max(0.0, milliseconds_between(durable[i], read[i])));
  print({.what = "commit durable in the copy -> its last row change read from the feed, 100 tx/s",
         .ours = fmt::format("p50 {:.0f}, p99 {:.0f}, max {:.0f} ms", lags.percentile(0.5),
                             lags.percentile(0.99), lags.percentile(1)),
         .goal = "p99 <= 1 s",
         .met = lags.percentile(0.99) <= 1000});
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  const int transactions = argc > 1 ? std::atoi(argv[1]) : 500;
  understudy::bench::decoded_in_a_second(transactions);
  understudy::bench::lag(transactions);
}
