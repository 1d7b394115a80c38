// The feed of row changes over gRPC, out of a real history of a real copy.

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "agent-failover/api/change_feed_service.hpp"
#include "agent-failover/rows/row_cursor.hpp"
#include "common/rpc/rpc_status.hpp"
#include "tests/support/rows/followed_copy.hpp"
#include "understudy/v1/change_feed.grpc.pb.h"

namespace understudy::api {
namespace {

using std::chrono::seconds;
using lines = std::vector<std::string>;

class rows_feed : public ::testing::Test {
 protected:
  rows_feed()
      : service_(make_change_feed_service(
            [this](const std::string& server) -> absl::StatusOr<std::vector<followed_database>> {
              if (server != "pbx" || removed) return absl::NotFoundError("no such server");
              return std::vector<followed_database>{{"db", database.past()}, {"off", nullptr}};
            },
            [](const std::string&) { return absl::NotFoundError("no such server"); })) {
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::ChangeFeed::NewStub(server_->InProcessChannel({}));
  }

  struct call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchRowsResponse>> reader;
    ~call() { context.TryCancel(); }
  };
  std::unique_ptr<call> watch(const std::string& cursor, std::vector<std::string> tables = {},
                              std::vector<v1::RowChangeKind> kinds = {}) {
    v1::WatchRowsRequest request;
    request.set_server("pbx");
    request.set_catalog("db");
    request.set_cursor(cursor);
    for (const auto& table : tables) request.add_tables(table);
    for (const auto kind : kinds) request.add_kinds(kind);
    auto begun = std::make_unique<call>();
    begun->context.set_deadline(std::chrono::system_clock::now() + seconds(60));
    begun->reader = stub_->WatchRows(&begun->context, request);
    return begun;
  }
  // The next change, as a line, or how the call ended.
  std::string next(call& from) {
    while (from.reader->Read(&message)) {
      if (message.kind() == v1::ROW_CHANGE_KIND_CURSOR) {
        cursor_only = message.cursor();
        continue;
      }
      return fmt::format("{} {} {}{}", v1::RowChangeKind_Name(message.kind()).substr(16), message.table(),
                         message.rowid(), message.ends_transaction() ? "." : "");
    }
    ended = from.reader->Finish();
    return fmt::format("ended {}", static_cast<int>(ended.error_code()));
  }
  lines next(call& from, std::size_t count) {
    lines all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(next(from));
    return all;
  }

  rows::testing::followed_copy database;
  std::atomic<bool> removed = false;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ChangeFeed::Stub> stub_;
  v1::WatchRowsResponse message;
  std::string cursor_only;
  grpc::Status ended;
};

TEST_F(rows_feed, FollowsFromNowOnAndResumesInTheMiddleOfATransaction) {
  database.begin(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE u (x); INSERT INTO t VALUES (1, 'old')");
  auto live = watch("");
  // It is there once it says where it stands.
  ASSERT_TRUE(live->reader->Read(&message));
  ASSERT_EQ(message.kind(), v1::ROW_CHANGE_KIND_CURSOR);
  const std::string beginning = message.cursor();

  database.run("INSERT INTO t VALUES (2, 'zwei'), (3, 'drei')");
  database.run(
      "BEGIN; UPDATE t SET x = 'neu' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO u VALUES (7); "
      "COMMIT");
  EXPECT_EQ(next(*live, 2), (lines{"INSERT t 2", "INSERT t 3."}));
  ASSERT_EQ(message.after_size(), 2);
  EXPECT_EQ(message.after(1).column(), "x");
  EXPECT_EQ(message.after(1).text(), "drei");
  EXPECT_FALSE(message.several_transactions());
  EXPECT_EQ(next(*live), "UPDATE t 1");
  EXPECT_EQ(message.before(1).text(), "old");
  EXPECT_EQ(message.after(1).text(), "neu");
  const std::string middle = message.cursor();
  EXPECT_EQ(next(*live, 2), (lines{"DELETE t 2", "INSERT u 1."}));
  const std::string end = message.cursor();

  EXPECT_EQ(next(*watch(middle), 2), (lines{"DELETE t 2", "INSERT u 1."}));
  EXPECT_EQ(next(*watch(beginning), 2), (lines{"INSERT t 2", "INSERT t 3."}));
  EXPECT_EQ(next(*watch(middle, {"U"})), "INSERT u 1.") << "for other tables the transaction comes whole";
  auto later = watch(end);
  database.run("DROP TABLE u");
  EXPECT_EQ(next(*later, 2), (lines{"DELETE u 1", "DROP u 0."}));
  EXPECT_EQ(message.schema().object(), "table");
}

TEST_F(rows_feed, SaysWhereATransactionEndsForWhoWantsOnlySomeKinds) {
  database.begin("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
  database.run("BEGIN; INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); COMMIT");
  database.run(
      "BEGIN; DELETE FROM t WHERE id = 2; UPDATE t SET x = 0 WHERE id = 3; INSERT INTO t VALUES (4, 4); "
      "COMMIT");
  database.run("DELETE FROM t WHERE id = 1");
  const std::vector<v1::RowChangeKind> removals = {v1::ROW_CHANGE_KIND_DELETE, v1::ROW_CHANGE_KIND_UPDATE};
  auto some = watch("oldest", {}, removals);
  EXPECT_EQ(next(*some), "DELETE t 2");
  const std::string middle = message.cursor();
  EXPECT_EQ(next(*some, 2), (lines{"UPDATE t 3.", "DELETE t 1."})) << "the insertion after it is not wanted";
  EXPECT_EQ(next(*watch(middle, {}, removals), 2), (lines{"UPDATE t 3.", "DELETE t 1."}));
  EXPECT_EQ(next(*watch(middle), 2), (lines{"UPDATE t 3", "INSERT t 4."}));
}

// SQLite takes any bytes for a name; proto3 refuses them, and a reader would meet the same message for ever.
TEST_F(rows_feed, NamesThatAreNoUtf8DoNotStopIt) {
  database.begin("CREATE TABLE t (x)");
  database.run(
      "CREATE TABLE \"caf\xE9\" (\"pr\xE9nom\" DEFAULT 'Andr\xE9', k PRIMARY KEY) WITHOUT ROWID; "
      "INSERT INTO \"caf\xE9\" (k) VALUES (x'00')");
  auto live = watch("oldest");
  EXPECT_EQ(next(*live), "CREATE caf\uFFFD 0");
  EXPECT_NE(message.schema().sql_after().find("Andr\uFFFD"), std::string::npos);
  EXPECT_EQ(next(*live), "INSERT caf\uFFFD 0.");
  EXPECT_EQ(message.after(0).column(), "pr\uFFFDnom");
  EXPECT_EQ(message.after(0).raw_text(), "Andr\xE9");
}

TEST_F(rows_feed, BeginsAtTheOldestState) {
  database.begin("CREATE TABLE t (x)");
  database.run("INSERT INTO t VALUES (1)");
  database.run("DELETE FROM t");
  EXPECT_EQ(next(*watch("oldest"), 2), (lines{"INSERT t 1.", "DELETE t 1."}));
}

TEST_F(rows_feed, ASlowReaderHoldsNothingUp) {
  database.begin("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)");
  auto slow = watch("oldest");
  // Far more than gRPC takes in advance.
  for (int i = 0; i < 40; ++i) {
    database.run(
        fmt::format("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 200)"
                    "INSERT INTO t SELECT {} + i, hex(zeroblob(500)) FROM n",
                    i * 200));
  }
  EXPECT_TRUE(database.wait_for_history());
  for (int i = 1; i <= 8000; ++i) {
    ASSERT_EQ(next(*slow), fmt::format("INSERT t {}{}", i, i % 200 == 0 ? "." : ""));
  }
}

TEST_F(rows_feed, SaysWhatToDoWhenItCannotGoOn) {
  database.begin("CREATE TABLE t (x)");
  const auto refused = [&](const std::string& cursor) {
    EXPECT_TRUE(next(*watch(cursor)).starts_with("ended")) << cursor;
    return ended.error_code();
  };
  EXPECT_EQ(refused("nonsense"), grpc::StatusCode::INVALID_ARGUMENT);
  const auto last = database.past()->range().last;
  const auto image = database.past()->view_of(last).value()->combined().low;
  EXPECT_EQ(refused(rows::to_text({{"db", {.state = last + 5, .image = image}}})),
            grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(rpc::reason_of(rpc::from_grpc(ended)), "CURSOR_EXPIRED");
  EXPECT_EQ(refused(rows::to_text({{"db", {.state = last, .image = image + 1}}})),
            grpc::StatusCode::OUT_OF_RANGE);

  v1::WatchRowsRequest request;
  for (const auto& [server, catalog, code] : {std::tuple{"pbx", "off", grpc::StatusCode::FAILED_PRECONDITION},
                                              {"pbx", "no", grpc::StatusCode::NOT_FOUND},
                                              {"other", "", grpc::StatusCode::NOT_FOUND}}) {
    request.set_server(server);
    request.set_catalog(catalog);
    grpc::ClientContext context;
    auto reader = stub_->WatchRows(&context, request);
    EXPECT_FALSE(reader->Read(&message));
    EXPECT_EQ(reader->Finish().error_code(), code);
  }
}

TEST_F(rows_feed, EndsWithTheServer) {
  database.begin("CREATE TABLE t (x)");
  auto live = watch("");
  ASSERT_TRUE(live->reader->Read(&message));
  removed = true;
  EXPECT_EQ(next(*live), fmt::format("ended {}", static_cast<int>(grpc::StatusCode::NOT_FOUND)));
}

TEST(RowCursor, IsText) {
  const rows::positions at{{"ctserver", {41, 0xfedcba9876543210, 3, 7}}, {"vm", {1, 2, 0, 0}}};
  EXPECT_EQ(rows::to_text(at), "ctserver:29:fedcba9876543210:3:7,vm:1:2:0:0");
  EXPECT_EQ(rows::parse_positions(rows::to_text(at)), at);
  EXPECT_EQ(rows::parse_positions(""), rows::positions{});
  for (const char* bad :
       {"x", "a:1:2:3", "a:1:2:3:4:5", "a:g:2:3:4", ":1:2:3:4", "a:1:2:3:4,a:1:2:3:4", "a:1:2:3:4 "}) {
    EXPECT_EQ(rows::parse_positions(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace understudy::api
