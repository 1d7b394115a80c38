// File changes from the service that has them to the program that shows them, over a socket.

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <mutex>

#include "agent-failover/api/change_feed_service.hpp"
#include "common/files/file_feed.hpp"
#include "google/protobuf/util/json_util.h"
#include "tests/contract/ctl_process.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/change_feed.grpc.pb.h"

namespace understudy::test {
namespace {

using files::applied_change;
using files::applied_kind;
using files::file_feed;
using words = std::vector<std::string>;

class file_changes : public ::testing::Test {
 protected:
  file_changes()
      : service_(api::make_change_feed_service(
            [](const std::string&) { return absl::NotFoundError("no such server"); },
            [this](const std::string& server) -> absl::StatusOr<api::followed_files> {
              if (server != "pbx") return absl::NotFoundError("no such server");
              const std::lock_guard lock(mutex_);
              return api::followed_files{.feed = feed_, .bases = {"/srv/vm"}};
            })) {
    start();
  }
  ~file_changes() override { stop(); }

  void start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(fmt::format("127.0.0.1:{}", port_), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void stop() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  // As a restart of the daemon: what was kept is gone.
  void restart() {
    stop();
    {
      const std::lock_guard lock(mutex_);
      feed_ = std::make_shared<file_feed>();
    }
    start();
  }

  words environment() const {
    return {"HOME=" + home_.path(), fmt::format("UNDERSTUDY_HOST=127.0.0.1:{}", port_), "TZ=UTC",
            "TERM=xterm", "PATH=/usr/bin:/bin"};
  }
  static applied_change change(applied_kind kind, const std::string& path, const std::string& from = "") {
    applied_change made;
    made.kind = kind;
    made.base = std::make_shared<const std::string>("/srv/vm");
    made.path = path;
    made.from = from;
    made.size = 3 << 20;
    made.applied_at = std::chrono::system_clock::time_point(std::chrono::seconds(1'800'000'000));
    return made;
  }
  void add(applied_change made) {
    std::vector<applied_change> one;
    one.push_back(std::move(made));
    const std::lock_guard lock(mutex_);
    feed_->add(std::move(one));
  }

  std::mutex mutex_;
  std::shared_ptr<file_feed> feed_ = std::make_shared<file_feed>();
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  temporary_directory home_;
};

TEST_F(file_changes, are_shown_with_filters_until_it_is_quiet) {
  applied_change directory = change(applied_kind::removed, "old");
  directory.entry = files::entry_kind::directory;
  applied_change refused = change(applied_kind::unclear, "in/x.wav");
  refused.reason = "the disk is full";
  add(change(applied_kind::put, "in/one\ntwo\xff.wav"));
  add(change(applied_kind::changed, "in/a.txt"));
  add(change(applied_kind::renamed, "in/b.wav", "in/b.tmp"));
  add(directory);
  add(refused);
  ctl_process all({"changes", "pbx", "--files", "--cursor", "oldest"}, environment());
  EXPECT_EQ(all.wait(), 0) << all.err();
  EXPECT_EQ(all.out(),
            "2027-01-15 08:00:00 /srv/vm PUT in/one?two\uFFFD.wav 3.0 MiB\n"
            "2027-01-15 08:00:00 /srv/vm CHANGE in/a.txt 3.0 MiB\n"
            "2027-01-15 08:00:00 /srv/vm RENAME in/b.tmp -> in/b.wav\n"
            "2027-01-15 08:00:00 /srv/vm REMOVE old/\n"
            "2027-01-15 08:00:00 /srv/vm UNCLEAR in/x.wav: the disk is full\n");
  ctl_process some({"changes", "pbx", "--files", "--cursor", "oldest", "--base", "/srv/vm", "--under", "in",
                    "--name", "*.wav", "--kind", "put", "--kind", "RENAME"},
                   environment());
  EXPECT_EQ(some.wait(), 0) << some.err();
  EXPECT_EQ(std::count(some.out().begin(), some.out().end(), '\n'), 2) << some.out();

  ctl_process documents({"changes", "pbx", "--files", "--cursor", "oldest", "-o", "json"}, environment());
  EXPECT_EQ(documents.wait(), 0) << documents.err();
  std::istringstream lines(documents.out());
  std::vector<v1::WatchFilesResponse> read;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(line, &read.emplace_back()).ok()) << line;
  }
  ASSERT_EQ(read.size(), 6U);
  EXPECT_EQ(read[0].kind(), v1::FILE_CHANGE_KIND_CURSOR);
  EXPECT_EQ(read[1].path(), "in/one\ntwo\xff.wav");
  EXPECT_EQ(read[1].path_text(), "in/one\ntwo\uFFFD.wav");
  ctl_process rest({"changes", "pbx", "--files", "--cursor", read[4].cursor()}, environment());
  EXPECT_EQ(rest.wait(), 0) << rest.err();
  EXPECT_EQ(std::count(rest.out().begin(), rest.out().end(), '\n'), 1) << rest.out();
}

TEST_F(file_changes, are_followed_over_a_restart_with_a_gap) {
  add(change(applied_kind::put, "first"));
  ctl_process process({"changes", "pbx", "--files", "-f", "--cursor", "oldest"}, environment());
  ASSERT_TRUE(process.shows("PUT first")) << process.err();
  add(change(applied_kind::put, "second"));
  ASSERT_TRUE(process.shows("PUT second")) << process.err();
  restart();
  ASSERT_TRUE(process.shows("GAP: changes are missing (the failover host was started")) << process.err();
  add(change(applied_kind::put, "third"));
  ASSERT_TRUE(process.shows("PUT third")) << process.out();
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 130);
}

TEST_F(file_changes, a_reader_who_missed_some_is_told_how_many) {
  feed_ = std::make_shared<file_feed>(files::file_feed_bounds{.changes = 3, .bytes = 1 << 20});
  for (int i = 0; i < 10; ++i) add(change(applied_kind::put, std::to_string(i)));
  ctl_process process({"changes", "pbx", "--files", "--cursor", fmt::format("{:x}:0", feed_->id())},
                      environment());
  EXPECT_EQ(process.wait(), 0) << process.err();
  EXPECT_NE(process.out().find("pbx GAP: 7 changes are missing (the reader was too slow"), std::string::npos)
      << process.out();
  EXPECT_EQ(std::count(process.out().begin(), process.out().end(), '\n'), 4) << process.out();
}

TEST_F(file_changes, mistakes_have_their_exit_codes) {
  const auto code = [&](const words& arguments) { return ctl_process(arguments, environment()).wait(); };
  EXPECT_EQ(code({"changes", "pbx", "--under", "in"}), 2) << "without --files";
  EXPECT_EQ(code({"changes", "pbx", "--files", "--kind", "gap"}), 2);
  EXPECT_EQ(code({"changes", "pbx", "--files", "--cursor", "nonsense"}), 2);
  EXPECT_EQ(code({"changes", "pbx", "--files", "--under", "../x"}), 2);
  EXPECT_EQ(code({"changes", "pbx", "--files", "--base", "/elsewhere"}), 6);
  EXPECT_EQ(code({"changes", "other", "--files"}), 6);
}

}  // namespace
}  // namespace understudy::test
