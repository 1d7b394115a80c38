#include "agent-failover/api/change_feed_service.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "agent-failover/api/row_change_message.hpp"
#include "agent-failover/history/news.hpp"
#include "agent-failover/rows/row_cursor.hpp"
#include "agent-failover/rows/row_follower.hpp"
#include "common/rows/sql_tokens.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/change_feed.grpc.pb.h"

namespace understudy::api {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int most_readers = 16;            // each has a thread, and five bytes per page of what it follows
constexpr milliseconds look_interval{250};  // whether the reader is still there, while nothing happens
constexpr seconds cursor_interval{10};      // between cursors alone, when nothing that was asked for happens
constexpr seconds still_there_interval{1};  // between looks whether the server and its histories are the same
constexpr std::size_t most_together =
    64;                               // databases in one call: each change carries where it is in all of them
constexpr seconds longest_write{30};  // of a reader that was overtaken, and holds disk space meanwhile

std::uint64_t hash_of(const std::set<std::string>& names) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a: the same in every run and version
  for (const std::string& name : names) {
    for (const char c : name + '\0') hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return names.empty() ? 0 : hash;
}

// Ends a call whose reader does not take what is written to it, once the history has gone past it: until then
// it costs nothing, from then on disk space.
class patience {
 public:
  patience(grpc::ServerContext& call, const std::vector<std::unique_ptr<rows::row_follower>>& followers)
      : call_(call), followers_(followers), thread_([this] { watch(); }) {}
  ~patience() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  void begin_write() {
    const std::lock_guard lock(mutex_);
    writing_since_ = steady_clock::now();
  }
  void end_write() {
    const std::lock_guard lock(mutex_);
    writing_since_.reset();
  }

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, seconds(1), [this] { return over_; })) {
      const bool slow = writing_since_ && steady_clock::now() - *writing_since_ > longest_write;
      if (slow &&
          std::any_of(followers_.begin(), followers_.end(), [](const auto& f) { return f->overtaken(); })) {
        call_.TryCancel();
      }
    }
  }

  grpc::ServerContext& call_;
  const std::vector<std::unique_ptr<rows::row_follower>>& followers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<steady_clock::time_point> writing_since_;
  bool over_ = false;
  std::thread thread_;
};

// One call.
class row_feed {
 public:
  row_feed(grpc::ServerContext& call, const v1::WatchRowsRequest& request,
           grpc::ServerWriter<v1::WatchRowsResponse>& writer, const database_finder& find)
      : call_(call), request_(request), writer_(writer), find_(find) {
    for (const std::string& table : request.tables()) tables_.insert(rows::lower_case(table));
    for (const int kind : request.kinds()) kinds_.insert(static_cast<v1::RowChangeKind>(kind));
  }

  absl::Status run() {
    auto databases = find_(request_.server());
    if (!databases.ok()) return databases.status();
    UNDERSTUDY_RETURN_IF_ERROR(open(*databases));
    patience bounded(call_, followers_);
    patience_ = &bounded;
    auto told = steady_clock::now();
    auto looked = told;
    while (!call_.IsCancelled()) {
      if (steady_clock::now() - looked > still_there_interval) {
        UNDERSTUDY_RETURN_IF_ERROR(still_there());
        looked = steady_clock::now();
      }
      bool any = false;
      for (std::size_t i = 0; i < followers_.size(); ++i) {
        UNDERSTUDY_ASSIGN_OR_RETURN(const bool stepped, followers_[i]->step(sink_of(catalogs_[i])));
        if (const auto at = followers_[i]->at()) at_[catalogs_[i]] = *at;
        any = any || stepped;
      }
      const bool first = sent_.empty() && at_.size() == followers_.size();
      if (at_ != sent_ && (first || steady_clock::now() - told > cursor_interval)) {
        v1::WatchRowsResponse cursor;
        cursor.set_kind(v1::ROW_CHANGE_KIND_CURSOR);
        UNDERSTUDY_RETURN_IF_ERROR(send(cursor));
      }
      if (at_ == sent_) told = steady_clock::now();
      if (!any) news_->wait(look_interval);
    }
    return absl::CancelledError("the call was cancelled");
  }

 private:
  absl::Status open(const std::vector<followed_database>& databases) {
    const bool oldest = request_.cursor() == "oldest";
    rows::positions from;
    if (!oldest) {
      auto parsed = rows::parse_positions(request_.cursor());
      if (!parsed) {
        return rpc::with_field(absl::InvalidArgumentError("this is no cursor of the row feed"), "cursor",
                               "must be empty, \"oldest\", or the cursor of an earlier change");
      }
      from = *std::move(parsed);
    }
    rows::row_choice wanted;
    wanted.tables_hash = hash_of(tables_);
    wanted.go_on = [this] { return !call_.IsCancelled(); };
    if (!tables_.empty()) {
      wanted.tables = [this](const std::string& table) { return tables_.contains(rows::lower_case(table)); };
    }
    if (!kinds_.empty()) {
      wanted.kinds = [this](rows::change_kind kind) { return kinds_.contains(kind_of(kind)); };
    }
    for (const followed_database& database : databases) {
      if (!request_.catalog().empty() && request_.catalog() != database.catalog) continue;
      if (database.past == nullptr) {
        return rpc::with_reason(
            absl::FailedPreconditionError(fmt::format("no history is kept of {}, and row changes are read "
                                                      "from it: it is off in the settings or of this server",
                                                      database.catalog)),
            "NO_HISTORY", {{"catalog", database.catalog}});
      }
      auto follower = std::make_unique<rows::row_follower>(database.catalog, database.past, wanted);
      if (oldest) UNDERSTUDY_RETURN_IF_ERROR(follower->begin_at_oldest());
      if (const auto at = from.find(database.catalog); at != from.end()) {
        UNDERSTUDY_RETURN_IF_ERROR(follower->resume(at->second));
      }
      database.past->tell(news_);
      followers_.push_back(std::move(follower));
      catalogs_.push_back(database.catalog);
      pasts_.push_back(database.past);
    }
    if (followers_.size() > most_together) {
      return rpc::with_field(
          absl::InvalidArgumentError(fmt::format("{} has {} databases, and at most {} are followed together",
                                                 request_.server(), followers_.size(), most_together)),
          "catalog", "name one of them");
    }
    if (followers_.empty()) {
      return absl::NotFoundError(
          request_.catalog().empty()
              ? fmt::format("{} has no database", request_.server())
              : fmt::format("{} has no database {}", request_.server(), request_.catalog()));
    }
    return absl::OkStatus();
  }

  // The server may be removed meanwhile, or its databases or what is kept of them be others.
  absl::Status still_there() const {
    const auto databases = find_(request_.server());
    if (!databases.ok()) return databases.status();
    for (std::size_t i = 0; i < catalogs_.size(); ++i) {
      const bool same = std::any_of(databases->begin(), databases->end(), [&](const followed_database& d) {
        return d.catalog == catalogs_[i] && d.past == pasts_[i];
      });
      if (!same) {
        return absl::UnavailableError(fmt::format(
            "the configuration of {} was changed: follow again, from the last cursor", request_.server()));
      }
    }
    return absl::OkStatus();
  }

  rows::row_follower::sink sink_of(const std::string& catalog) {
    return [this, &catalog](const history::change& transaction, const rows::change& what,
                            const rows::position& done) {
      at_[catalog] = done;
      v1::WatchRowsResponse message = api::message_of(transaction, what);
      message.set_catalog(catalog);
      message.set_ends_transaction(done.delivered == 0);
      return send(message);
    };
  }

  absl::Status send(v1::WatchRowsResponse& message) {
    message.set_server(request_.server());
    message.set_cursor(rows::to_text(at_));
    patience_->begin_write();
    const bool written = writer_.Write(message);
    patience_->end_write();
    sent_ = at_;
    return written ? absl::OkStatus() : absl::CancelledError("the reader is gone");
  }

  grpc::ServerContext& call_;
  const v1::WatchRowsRequest& request_;
  grpc::ServerWriter<v1::WatchRowsResponse>& writer_;
  const database_finder& find_;
  std::set<std::string> tables_;
  std::set<v1::RowChangeKind> kinds_;
  std::vector<std::unique_ptr<rows::row_follower>> followers_;
  std::vector<std::string> catalogs_;
  std::vector<std::shared_ptr<history::database_history>> pasts_;
  const std::shared_ptr<history::news> news_ = std::make_shared<history::news>();
  rows::positions at_;
  rows::positions sent_;
  patience* patience_ = nullptr;
};

class change_feed_service final : public v1::ChangeFeed::Service {
 public:
  change_feed_service(database_finder find, file_finder find_files)
      : find_(std::move(find)), find_files_(std::move(find_files)) {}

  grpc::Status WatchRows(grpc::ServerContext* context, const v1::WatchRowsRequest* request,
                         grpc::ServerWriter<v1::WatchRowsResponse>* writer) override {
    if (readers_.fetch_add(1) >= most_readers) {
      readers_.fetch_sub(1);
      return rpc::to_grpc(absl::ResourceExhaustedError(
          fmt::format("{} readers follow row changes already, and no more are served", most_readers)));
    }
    absl::Status ended = row_feed(*context, *request, *writer, find_).run();
    readers_.fetch_sub(1);
    if (ended.code() == absl::StatusCode::kOutOfRange) {
      ended = rpc::with_help(rpc::with_reason(std::move(ended), "CURSOR_EXPIRED"),
                             fmt::format("understudyctl changes {} -f", request->server()),
                             "follow from now on, after reading the tables from the copy");
    }
    return rpc::to_grpc(ended);
  }

  grpc::Status WatchFiles(grpc::ServerContext* context, const v1::WatchFilesRequest* request,
                          grpc::ServerWriter<v1::WatchFilesResponse>* writer) override {
    if (file_readers_.fetch_add(1) >= most_readers) {
      file_readers_.fetch_sub(1);
      return rpc::to_grpc(absl::ResourceExhaustedError(
          fmt::format("{} readers follow file changes already, and no more are served", most_readers)));
    }
    const file_reader reader{.is_there = [context] { return !context->IsCancelled(); },
                             .write =
                                 [writer](const v1::WatchFilesResponse& change, bool more) {
                                   grpc::WriteOptions options;
                                   if (more) options.set_buffer_hint();
                                   return writer->Write(change, options);
                                 }};
    const absl::Status ended = follow_files(*request, find_files_, reader);
    file_readers_.fetch_sub(1);
    return rpc::to_grpc(ended);
  }

 private:
  const database_finder find_;
  const file_finder find_files_;
  std::atomic<int> readers_{0};
  std::atomic<int> file_readers_{0};
};

}  // namespace

std::unique_ptr<grpc::Service> make_change_feed_service(database_finder find, file_finder find_files) {
  return std::make_unique<change_feed_service>(std::move(find), std::move(find_files));
}

}  // namespace understudy::api
