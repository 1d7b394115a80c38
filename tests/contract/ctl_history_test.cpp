// What understudyctl follows: status, events, changes.

#include <csignal>
#include <sstream>

#include "tests/contract/ctl_fixture.hpp"
#include "understudy/v1/change_feed.pb.h"

namespace understudy::test {
namespace {

class ctl_history : public ctl_program {};

TEST_F(ctl_history, status_watch_is_ndjson_and_ends_130_on_sigint) {
  v1::WatchResponse first;
  first.mutable_server()->set_name("a");
  first.mutable_server()->set_status(v1::SERVER_STATUS_OK);
  v1::WatchResponse second = first;
  second.mutable_server()->set_status(v1::SERVER_STATUS_SUSPECT);
  host_.on("Watch", [=](const std::string&) {
    return fake_supervisor::answer{{first.SerializeAsString(), second.SerializeAsString()}, {}, true};
  });
  ctl_process process{{"status", "-w", "-o", "json"}, environment()};
  ASSERT_TRUE(process.shows("SUSPECT")) << process.err();
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 130) << process.err();
  std::istringstream lines{process.out()};
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_TRUE(is_json(line)) << line;
  EXPECT_EQ(count, 2);
  EXPECT_EQ(process.err(), "");
}

TEST_F(ctl_history, events_follow_over_a_lost_connection_without_losing_or_repeating) {
  const auto event = [](std::uint64_t id) {
    v1::WatchResponse update;
    update.mutable_event()->set_id(id);
    update.mutable_event()->set_text("event-" + std::to_string(id));
    return update.SerializeAsString();
  };
  v1::ListEventsResponse past;
  past.add_events()->set_id(1);
  past.mutable_events(0)->set_text("event-1");
  host_.answers("ListEvents", past);
  host_.on("Watch", [&](const std::string& bytes) {
    v1::WatchRequest request;
    request.ParseFromString(bytes);
    if (request.after_event() == 1)
      return fake_supervisor::answer{{event(2)}, {grpc::StatusCode::UNAVAILABLE, "going down"}, false};
    return fake_supervisor::answer{{event(2), event(3)}, {}, true};
  });
  ctl_process process{{"events", "-f"}, environment()};
  ASSERT_TRUE(process.shows("event-3")) << process.out() << process.err();
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 130);
  EXPECT_EQ(process.out().find("event-2"), process.out().rfind("event-2"));
  EXPECT_NE(process.err().find("connection lost (going down)"), std::string::npos);
  EXPECT_EQ(host_.requests<v1::WatchRequest>("Watch").at(1).after_event(), 2U);
}

// More was missed than a host answers at once.
TEST_F(ctl_history, events_that_were_missed_are_asked_for_until_there_are_no_more) {
  constexpr std::uint64_t missed = 25;
  host_.on("ListEvents", [&](const std::string& bytes) {
    v1::ListEventsRequest request;
    request.ParseFromString(bytes);
    constexpr std::uint64_t most = 10;
    // As the real one: the newest of them, or the oldest.
    const std::uint64_t after = request.after();
    std::uint64_t first = request.oldest_first() || missed - after < most ? after + 1 : missed - most + 1;
    if (!request.oldest_first() && after == 0) first = missed + 1;  // the beginning: nothing happened yet
    v1::ListEventsResponse answer;
    for (std::uint64_t id = first; id <= missed && id < first + most; ++id) {
      answer.add_events()->set_id(id);
      answer.mutable_events(answer.events_size() - 1)->set_text("event-" + std::to_string(id) + ";");
    }
    return fake_supervisor::answer{{answer.SerializeAsString()}, {}, false};
  });
  v1::WatchResponse gap;
  gap.mutable_gap()->set_next_event(missed + 1);
  v1::WatchResponse next;
  next.mutable_event()->set_id(missed + 1);
  next.mutable_event()->set_text("event-26;");
  host_.on("Watch", [&](const std::string&) {
    return fake_supervisor::answer{{gap.SerializeAsString(), next.SerializeAsString()}, {}, true};
  });
  ctl_process process{{"events", "-f"}, environment()};
  ASSERT_TRUE(process.shows("event-26;")) << process.out() << process.err();
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 130);
  std::size_t at = 0;
  for (std::uint64_t id = 1; id <= missed + 1; ++id) {
    at = process.out().find("event-" + std::to_string(id) + ";", at);
    ASSERT_NE(at, std::string::npos) << id << " is missing, or not in order:\n" << process.out();
  }
}

TEST_F(ctl_history, changes_come_from_the_change_feed) {
  v1::WatchRowsResponse change;
  change.set_cursor("7");
  change.set_catalog("c");
  change.set_table("users");
  change.set_kind(v1::ROW_CHANGE_KIND_INSERT);
  host_.on("ChangeFeed/WatchRows", [=](const std::string&) {
    return fake_supervisor::answer{{change.SerializeAsString()}, {}, true};
  });
  const auto got = run({"changes", "a", "--cursor", "6"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, "- c.users INSERT\n");
  EXPECT_EQ(host_.requests<v1::WatchRowsRequest>("ChangeFeed/WatchRows").at(0).cursor(), "6");
  EXPECT_TRUE(is_json(run({"changes", "a", "-o", "json"}).out));
}

}  // namespace
}  // namespace understudy::test
