// The feed of file changes over gRPC, out of a tree to which a session applies what a source sends.

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "agent-failover/api/change_feed_service.hpp"
#include "common/files/file_feed.hpp"
#include "common/rpc/rpc_status.hpp"
#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"
#include "understudy/v1/change_feed.grpc.pb.h"

namespace understudy::api {
namespace {

namespace fs = std::filesystem;
using files::applied_change;
using files::applied_kind;
using files::file_feed;
using std::chrono::seconds;
using lines = std::vector<std::string>;

class files_feed : public ::testing::Test {
 protected:
  files_feed()
      : service_(
            make_change_feed_service([](const std::string&) { return absl::NotFoundError("no such server"); },
                                     [this](const std::string& server) -> absl::StatusOr<followed_files> {
                                       const std::lock_guard lock(mutex_);
                                       if (server != "pbx" || feed == nullptr)
                                         return absl::NotFoundError("no such server");
                                       return followed_files{.feed = feed, .bases = bases};
                                     })) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::ChangeFeed::NewStub(
        grpc::CreateChannel(fmt::format("127.0.0.1:{}", port), grpc::InsecureChannelCredentials()));
    request.set_server("pbx");
  }
  ~files_feed() override { server_->Shutdown(std::chrono::system_clock::now()); }

  void replace(std::shared_ptr<file_feed> by) {
    const std::lock_guard lock(mutex_);
    feed = std::move(by);
  }

  struct call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchFilesResponse>> reader;
    ~call() { context.TryCancel(); }
  };
  std::unique_ptr<call> begin(const std::string& cursor) {
    request.set_cursor(cursor);
    auto begun = std::make_unique<call>();
    begun->context.set_deadline(std::chrono::system_clock::now() + seconds(60));
    begun->reader = stub_->WatchFiles(&begun->context, request);
    return begun;
  }
  // Follows, from now on if nothing else is said, and says where it stands.
  std::unique_ptr<call> watch(const std::string& cursor = "") {
    auto begun = begin(cursor);
    EXPECT_EQ(next(*begun, true), "CURSOR");
    return begun;
  }
  // The next change, as a line, or how the call ended.
  std::string next(call& from, bool cursors) {
    while (from.reader->Read(&message)) {
      const std::string kind = v1::FileChangeKind_Name(message.kind()).substr(17);
      if (message.kind() == v1::FILE_CHANGE_KIND_CURSOR && !cursors) continue;
      if (message.path().empty()) return kind;
      return message.from().empty() ? fmt::format("{} {}", kind, message.path())
                                    : fmt::format("{} {} -> {}", kind, message.from(), message.path());
    }
    ended = from.reader->Finish();
    return fmt::format("ended {}", static_cast<int>(ended.error_code()));
  }
  std::string next(call& from) { return next(from, false); }
  lines next(call& from, int count) {
    lines all;
    for (int i = 0; i < count; ++i) all.push_back(next(from));
    return all;
  }
  static applied_change created(const std::string& path, const std::string& base = "/srv/vm") {
    applied_change change;
    change.kind = applied_kind::put;
    change.path = path;
    change.base = std::make_shared<const std::string>(base);
    return change;
  }
  void add(applied_change change) {
    std::vector<applied_change> one;
    one.push_back(std::move(change));
    feed->add(std::move(one));
  }
  void add(const std::string& path) { add(created(path)); }

  std::mutex mutex_;
  std::shared_ptr<file_feed> feed = std::make_shared<file_feed>();
  std::vector<std::string> bases{"/srv/vm", "/srv/fax"};
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ChangeFeed::Stub> stub_;
  v1::WatchFilesRequest request;
  v1::WatchFilesResponse message;
  grpc::Status ended;
};

// A source, its copy, and who follows it.
class files_feed_of_a_tree : public files_feed {
 protected:
  void SetUp() override {
    pair.sink_options.feed = feed;
    bases = {pair.base()};
    pair.write("d/a", "1");
    pair.write("old", "2");
    pair.connect();
    pair.expect_same();
  }
  void apply(const v1::FileChange& change) {
    std::vector<v1::FileRefusal> refusals;
    const absl::Status applied = pair.sink->apply(std::span(&change, 1), refusals);
    EXPECT_TRUE(applied.ok()) << message_of(applied);
  }
  // What is told of it first.
  std::string told(call& to, const v1::FileChange& change) {
    apply(change);
    return next(to);
  }
  static v1::FileChange entry_of(const std::string& path, v1::FileKind kind) {
    v1::FileChange change;
    change.set_sequence(1);
    change.mutable_seen_at()->set_seconds(2000);
    v1::FileEntry& entry = *change.mutable_put()->mutable_entry();
    entry.set_path(path);
    entry.set_kind(kind);
    entry.set_mode(0755);
    entry.mutable_modified_at()->set_seconds(1000);
    entry.mutable_modified_at()->set_nanos(7);
    return change;
  }
  static v1::FileChange put_of(const std::string& path, const std::string& content) {
    v1::FileChange change = entry_of(path, v1::FILE_KIND_REGULAR);
    change.mutable_put()->set_content(content);
    change.mutable_put()->mutable_entry()->set_size(content.size());
    return change;
  }
  static v1::FileChange directory_of(const std::string& path) {
    return entry_of(path, v1::FILE_KIND_DIRECTORY);
  }
  static v1::FileChange symlink_of(const std::string& path, const std::string& target) {
    v1::FileChange change = entry_of(path, v1::FILE_KIND_SYMLINK);
    change.mutable_put()->mutable_entry()->set_symlink_target(target);
    return change;
  }
  static v1::FileChange rename_of(const std::string& from, const std::string& to) {
    v1::FileChange change;
    change.set_sequence(1);
    change.mutable_rename()->set_from(from);
    change.mutable_rename()->set_to(to);
    return change;
  }
  void apply() {
    const absl::Status settled = pair.settle();
    ASSERT_TRUE(settled.ok()) << message_of(settled);
    // Events may come after what was looked at: the copy is the same when all of them were.
    ASSERT_TRUE(test::wait_until(
        [&] { return pair.settle().ok() && test::tree_differences(pair.base(), pair.copy()).empty(); },
        seconds(20)));
  }
  test::file_pair pair;
};

TEST_F(files_feed_of_a_tree, TellsEachKindOfChange) {
  auto live = watch();
  EXPECT_EQ(told(*live, put_of("d/b", "hello")), "PUT d/b");
  EXPECT_EQ(message.base(), pair.base());
  EXPECT_EQ(message.size(), 5U);
  EXPECT_EQ(message.entry(), v1::FILE_KIND_REGULAR);
  EXPECT_EQ(message.modified_at().seconds(), 1000);
  EXPECT_EQ(message.modified_at().nanos(), 7);
  EXPECT_EQ(message.seen_at().seconds(), 2000);
  EXPECT_GT(message.applied_at().seconds(), 1'700'000'000);

  EXPECT_EQ(told(*live, put_of("d/b", "other text")), "CHANGE d/b");
  EXPECT_EQ(message.size(), 10U);
  v1::FileChange change;
  *change.mutable_append()->mutable_entry() = put_of("d/b", "other text, more").put().entry();
  change.mutable_append()->set_offset(10);
  change.mutable_append()->set_content(", more");
  EXPECT_EQ(told(*live, change), "CHANGE d/b");
  EXPECT_EQ(message.size(), 16U);
  *change.mutable_attributes() = put_of("d/b", "other text, more").put().entry();
  EXPECT_EQ(told(*live, change), "ATTRIBUTES d/b");
  EXPECT_EQ(told(*live, rename_of("d/b", "c")), "RENAME d/b -> c");
  EXPECT_EQ(message.size(), 16U);
  change.mutable_link()->set_path("d/link");
  change.mutable_link()->set_existing("c");
  EXPECT_EQ(told(*live, change), "LINK c -> d/link");
  change.mutable_remove()->set_path("d/link");
  EXPECT_EQ(told(*live, change), "REMOVE d/link");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_REGULAR);
  EXPECT_EQ(told(*live, symlink_of("s", "../nowhere")), "PUT s");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_SYMLINK);
  EXPECT_EQ(message.target(), "../nowhere");
  EXPECT_EQ(told(*live, directory_of("e")), "PUT e");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_DIRECTORY);
  EXPECT_EQ(told(*live, directory_of("e")), "ATTRIBUTES e");
  EXPECT_EQ(told(*live, rename_of("d", "e/d")), "RENAME d -> e/d");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_DIRECTORY);
  change.mutable_remove()->set_path("e");
  EXPECT_EQ(told(*live, change), "REMOVE e");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_DIRECTORY);
  EXPECT_EQ(told(*live, rename_of("nothing", "x")), "UNCLEAR nothing -> x");
  EXPECT_NE(message.reason(), "");
  // What is so already is no change.
  change.mutable_remove()->set_path("nothing");
  apply(change);
  EXPECT_EQ(told(*live, put_of("last", "")), "PUT last");
}

TEST_F(files_feed_of_a_tree, WhatMakesWayIsToldAsRemoved) {
  auto live = watch();
  EXPECT_EQ(told(*live, put_of("d", "a file now")), "REMOVE d");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_DIRECTORY);
  EXPECT_EQ(next(*live), "PUT d");
  EXPECT_EQ(told(*live, directory_of("old")), "REMOVE old");
  EXPECT_EQ(message.entry(), v1::FILE_KIND_REGULAR);
  EXPECT_EQ(next(*live), "PUT old");
}

TEST_F(files_feed_of_a_tree, NamesThatAreNoTextComeAsTheyAre) {
  auto live = watch();
  const std::string name = "caf\xE9\n\x1b[31m";
  EXPECT_EQ(told(*live, put_of(name, "x")), "PUT " + name);
  EXPECT_EQ(message.path_text(), "caf\uFFFD\n\x1b[31m");
}

// What was read is replayed on a model; it must become the tree.
TEST_F(files_feed_of_a_tree, AReaderWhoAppliesWhatHeReadsHasTheTree) {
  auto live = watch();
  std::set<std::string> model{"d", "d/a", "old"};
  for (int i = 0; i < 60; ++i) {
    const std::string d = fmt::format("t{}", i % 7);
    pair.write(d + "/" + std::to_string(i), "x");
    if (i % 5 == 4) fs::rename(pair.at(d), pair.at(d + "-" + std::to_string(i)));
    if (i % 11 == 10) fs::remove_all(pair.at(fmt::format("t{}", (i + 3) % 7)));
    if (i % 6 == 5) {
      ASSERT_NO_FATAL_FAILURE(apply());
    }
  }
  ASSERT_NO_FATAL_FAILURE(apply());
  pair.write("the end", "x");
  ASSERT_NO_FATAL_FAILURE(apply());
  const auto with_all_below = [&](const std::string& path) {
    std::vector<std::string> found;
    for (const std::string& known : model) {
      if (known == path || files::is_below(known, path)) found.push_back(known);
    }
    return found;
  };
  while (!model.contains("the end")) {
    const std::string line = next(*live);
    ASSERT_FALSE(line.starts_with("ended")) << line;
    ASSERT_NE(line, "GAP");
    if (message.kind() == v1::FILE_CHANGE_KIND_PUT || message.kind() == v1::FILE_CHANGE_KIND_LINK) {
      model.insert(message.path());
    } else if (message.kind() == v1::FILE_CHANGE_KIND_REMOVE) {
      for (const std::string& gone : with_all_below(message.path())) model.erase(gone);
    } else if (message.kind() == v1::FILE_CHANGE_KIND_RENAME) {
      const auto moved = with_all_below(message.from());
      EXPECT_FALSE(moved.empty()) << line;
      for (const std::string& old : moved) {
        model.erase(old);
        model.insert(message.path() + old.substr(message.from().size()));
      }
    }
  }
  std::map<std::string, test::tree_item> there;
  test::read_tree(pair.copy(), "", there);
  std::set<std::string> paths;
  for (const auto& [path, item] : there) paths.insert(path);
  EXPECT_EQ(model, paths);
}

TEST_F(files_feed_of_a_tree, WhoMayWriteToTheCopyOtherwiseMakesAGap) {
  auto live = watch();
  ASSERT_TRUE(pair.sink->forget().ok());
  EXPECT_EQ(next(*live), "GAP");
  EXPECT_NE(message.reason().find("stand-in"), std::string::npos);
  EXPECT_EQ(message.base(), pair.base());
}

TEST_F(files_feed, ResumesFromACursorAndFromTheOldest) {
  auto live = watch();
  for (const char* path : {"a", "b", "c"}) add(path);
  EXPECT_EQ(next(*live), "PUT a");
  const std::string after_a = message.cursor();
  EXPECT_EQ(next(*live, 2), (lines{"PUT b", "PUT c"}));
  const std::string end = message.cursor();
  EXPECT_EQ(next(*watch(after_a), 2), (lines{"PUT b", "PUT c"}));
  EXPECT_EQ(next(*watch("oldest"), 3), (lines{"PUT a", "PUT b", "PUT c"}));
  auto later = watch(end);
  add("d");
  EXPECT_EQ(next(*later), "PUT d");
  EXPECT_EQ(next(*live), "PUT d") << "each reader has all of it";
}

TEST_F(files_feed, ACursorOfAFormerProcessMeetsAGap) {
  add("a");
  const std::string cursor = (watch(), message.cursor());
  replace(std::make_shared<file_feed>());
  add("b");
  auto live = begin(cursor);
  EXPECT_EQ(next(*live), "GAP");
  EXPECT_EQ(message.missing(), 0U);
  EXPECT_NE(message.reason(), "");
  add("c");
  EXPECT_EQ(next(*live), "PUT c");
  // One that was never given out.
  auto other = begin(fmt::format("{:x}:99", feed->id()));
  EXPECT_EQ(next(*other), "GAP");
}

TEST_F(files_feed, ASlowReaderHoldsNothingUpAndIsToldHowMuchHeMissed) {
  replace(std::make_shared<file_feed>(files::file_feed_bounds{.changes = 1000, .bytes = 4 << 20}));
  auto slow = watch();
  const int count = 60'000;  // far more than gRPC takes in advance
  for (int i = 1; i <= count; ++i) add(fmt::format("{}-{}", i, std::string(200, 'x')));
  int at = 0;
  int gaps = 0;
  while (at < count) {
    const std::string line = next(*slow);
    if (line == "GAP") {
      ++gaps;
      ASSERT_GT(message.missing(), 0U);
      at += static_cast<int>(message.missing());
      continue;
    }
    ASSERT_TRUE(line.starts_with(fmt::format("PUT {}-", ++at))) << line.substr(0, 40);
  }
  EXPECT_GT(gaps, 0);
}

TEST_F(files_feed, IsBoundedInBytes) {
  file_feed small({.changes = 1000, .bytes = 100'000});
  for (int i = 0; i < 100; ++i) {
    std::vector<applied_change> one;
    one.push_back(created(std::string(10'000, 'x')));
    small.add(std::move(one));
  }
  EXPECT_EQ(small.last(), 100U);
  EXPECT_GE(small.before_oldest(), 90U);
  const auto portion = small.read(5, 1000, std::chrono::milliseconds(0));
  EXPECT_EQ(portion.missing, small.before_oldest() - 5);
  EXPECT_EQ(portion.first, small.before_oldest() + 1);
}

TEST_F(files_feed, ManyReadersReadWhileItIsFilled) {
  constexpr int count = 4000;
  std::vector<std::thread> readers;
  std::vector<std::unique_ptr<call>> calls;
  for (int r = 0; r < 8; ++r) calls.push_back(watch());
  std::atomic<int> wrong{0};
  for (int r = 0; r < 8; ++r) {
    readers.emplace_back([&, from = calls[static_cast<std::size_t>(r)].get()] {
      v1::WatchFilesResponse got;
      for (int i = 0; i < count;) {
        if (!from->reader->Read(&got)) {
          ++wrong;
          return;
        }
        if (got.kind() == v1::FILE_CHANGE_KIND_CURSOR) continue;
        if (got.path() != std::to_string(i++)) ++wrong;
      }
    });
  }
  for (int i = 0; i < count; ++i) add(std::to_string(i));
  for (std::thread& one : readers) one.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(files_feed, SendsOnlyWhatIsAskedFor) {
  const auto of = [](applied_kind kind, const std::string& path, const std::string& from = "",
                     bool directory = false) {
    applied_change change = created(path);
    change.kind = kind;
    change.from = from;
    change.entry = directory ? files::entry_kind::directory : files::entry_kind::regular;
    return change;
  };
  using enum applied_kind;
  add("in/a.wav");
  add(created("in/a.wav", "/srv/fax"));
  add(of(changed, "in/b.txt"));
  add(of(removed, "out/c.wav"));
  add(of(renamed, "in/d.wav", "out/d.txt"));
  add(of(removed, "in", "", true));
  add(of(removed, "other", "", true));
  add(of(attributes, "in", "", true));
  add(of(unclear, "in/e.wav"));
  add("last.wav");

  const auto all_of = [&](const std::string& last) {
    auto from = watch("oldest");
    lines all;
    do all.push_back(next(*from));
    while (all.back() != last && !all.back().starts_with("ended") && all.size() < 20);
    return all;
  };
  request.set_base("/srv/vm");
  request.add_names("*.wav");
  EXPECT_EQ(all_of("PUT last.wav"), (lines{"PUT in/a.wav", "REMOVE out/c.wav", "RENAME out/d.txt -> in/d.wav",
                                           "REMOVE in", "REMOVE other", "UNCLEAR in/e.wav", "PUT last.wav"}));
  request.add_names("*.txt");
  request.add_kinds(v1::FILE_CHANGE_KIND_CHANGE);
  request.add_kinds(v1::FILE_CHANGE_KIND_RENAME);
  EXPECT_EQ(all_of("RENAME out/d.txt -> in/d.wav"),
            (lines{"CHANGE in/b.txt", "RENAME out/d.txt -> in/d.wav"}));
  request.clear_names();
  request.clear_kinds();
  request.set_under("in");
  EXPECT_EQ(all_of("UNCLEAR in/e.wav"),
            (lines{"PUT in/a.wav", "CHANGE in/b.txt", "RENAME out/d.txt -> in/d.wav", "REMOVE in",
                   "ATTRIBUTES in", "UNCLEAR in/e.wav"}));
  request.set_under("in/deeper");
  EXPECT_EQ(all_of("REMOVE in"), lines{"REMOVE in"}) << "what happens to it happens to all that is in it";
}

TEST_F(files_feed, SaysWhatIsWrong) {
  const auto refused = [&](const std::string& cursor = "") {
    auto begun = begin(cursor);
    EXPECT_TRUE(next(*begun).starts_with("ended"));
    return ended.error_code();
  };
  for (const char* cursor : {"x", "1", "1:", ":1", "1:2:3", "oldest ", "-1:1", "fffffffffffffffff:1"})
    EXPECT_EQ(refused(cursor), grpc::StatusCode::INVALID_ARGUMENT) << cursor;
  for (const std::string& under : lines{"/in", "in/", "../in", ".", std::string("a\0b", 3)}) {
    request.set_under(under);
    EXPECT_EQ(refused(), grpc::StatusCode::INVALID_ARGUMENT) << under;
  }
  request.clear_under();
  request.set_base("/elsewhere");
  EXPECT_EQ(refused(), grpc::StatusCode::NOT_FOUND);
  request.clear_base();
  for (int i = 0; i < 101; ++i) request.add_names("*");
  EXPECT_EQ(refused(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_names();
  request.add_names(std::string(513, '*'));
  EXPECT_EQ(refused(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_names();
  request.set_server("other");
  EXPECT_EQ(refused(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(files_feed, EndsWithTheServerAndMakesRoomForOthers) {
  std::vector<std::unique_ptr<call>> calls;
  for (int i = 0; i < 16; ++i) calls.push_back(watch());
  auto too_many = begin("");
  EXPECT_EQ(next(*too_many), fmt::format("ended {}", static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED)));
  calls.pop_back();  // cancelled: its place is free soon
  EXPECT_TRUE(test::wait_until([&] { return next(*begin(""), true) == "CURSOR"; }, seconds(10)));
  replace(nullptr);
  EXPECT_EQ(next(*calls[0]), fmt::format("ended {}", static_cast<int>(grpc::StatusCode::NOT_FOUND)));
  replace(std::make_shared<file_feed>());
  auto anew = watch();
  replace(std::make_shared<file_feed>());
  EXPECT_EQ(next(*anew), fmt::format("ended {}", static_cast<int>(grpc::StatusCode::UNAVAILABLE)));
}

}  // namespace
}  // namespace understudy::api
