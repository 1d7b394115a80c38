#include "agent-failover/api/file_follower.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "agent-failover/api/file_change_message.hpp"
#include "agent-failover/api/file_choice.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::api {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr std::size_t most_at_once = 256;   // changes that a reader keeps alive besides those of the feed
constexpr milliseconds look_interval{250};  // whether the reader is still there, while nothing happens
constexpr seconds still_there_interval{1};  // between looks whether the server is the same
constexpr seconds cursor_interval{10};      // between cursors alone, when nothing that was asked for happens

struct file_cursor {
  std::uint64_t feed = 0;
  std::uint64_t position = 0;
};

// FEED:POSITION, in hexadecimal.
std::optional<file_cursor> parse_cursor(std::string_view text) {
  file_cursor parsed;
  const char* const end = text.data() + text.size();
  const auto feed = std::from_chars(text.data(), end, parsed.feed, 16);
  if (feed.ec != std::errc() || feed.ptr == end || *feed.ptr != ':') return std::nullopt;
  const auto position = std::from_chars(feed.ptr + 1, end, parsed.position, 16);
  if (position.ec != std::errc() || position.ptr != end) return std::nullopt;
  return parsed;
}

class file_follower {
 public:
  file_follower(const v1::WatchFilesRequest& request, const file_finder& find, const file_reader& reader)
      : request_(request), find_(find), reader_(reader), choice_(request) {}

  absl::Status run() {
    UNDERSTUDY_RETURN_IF_ERROR(choice_.check());
    UNDERSTUDY_ASSIGN_OR_RETURN(const followed_files followed, find_(request_.server()));
    UNDERSTUDY_RETURN_IF_ERROR(check_bases(followed));
    feed_ = followed.feed;
    UNDERSTUDY_RETURN_IF_ERROR(begin());
    auto told = steady_clock::now();
    auto looked = told;
    while (reader_.is_there()) {
      if (steady_clock::now() - looked > still_there_interval) {
        UNDERSTUDY_RETURN_IF_ERROR(still_there());
        looked = steady_clock::now();
      }
      const auto portion = feed_->read(at_, most_at_once, look_interval);
      if (portion.missing != 0) {
        UNDERSTUDY_RETURN_IF_ERROR(
            send_gap(portion.first - 1, portion.missing, "the reader was too slow, or away for too long"));
      }
      UNDERSTUDY_RETURN_IF_ERROR(send(portion));
      if (at_ != sent_ && steady_clock::now() - told > cursor_interval)
        UNDERSTUDY_RETURN_IF_ERROR(send_cursor());
      if (at_ == sent_) told = steady_clock::now();
    }
    return gone();
  }

 private:
  static absl::Status gone() { return absl::CancelledError("the reader is gone"); }

  absl::Status check_bases(const followed_files& followed) const {
    if (followed.bases.empty())
      return absl::NotFoundError(fmt::format("{} has no file tree", request_.server()));
    const bool has = request_.base().empty() || std::find(followed.bases.begin(), followed.bases.end(),
                                                          request_.base()) != followed.bases.end();
    if (has) return absl::OkStatus();
    return absl::NotFoundError(
        fmt::format("{} has no file tree with this base: {}", request_.server(), request_.base()));
  }

  // The server may be removed meanwhile, and added anew.
  absl::Status still_there() const {
    UNDERSTUDY_ASSIGN_OR_RETURN(const followed_files followed, find_(request_.server()));
    UNDERSTUDY_RETURN_IF_ERROR(check_bases(followed));
    if (followed.feed == feed_) return absl::OkStatus();
    return absl::UnavailableError(
        fmt::format("{} was added anew: follow again, from the last cursor", request_.server()));
  }

  absl::Status begin() {
    const std::string& given = request_.cursor();
    if (given.empty() || given == "oldest") {
      at_ = given.empty() ? feed_->last() : feed_->before_oldest();
      return send_cursor();
    }
    const auto cursor = parse_cursor(given);
    if (!cursor) {
      return rpc::with_field(absl::InvalidArgumentError("this is no cursor of the feed of file changes"),
                             "cursor", "must be empty, \"oldest\", or the cursor of an earlier change");
    }
    const std::uint64_t last = feed_->last();
    if (cursor->feed != feed_->id() || cursor->position > last)
      return send_gap(last, 0, "the failover host was started, or the server added, after this cursor");
    at_ = cursor->position;
    return send_cursor();
  }

  absl::Status send(const files::file_feed::portion& portion) {
    std::vector<std::size_t> wanted;
    for (std::size_t i = 0; i < portion.changes.size(); ++i) {
      if (choice_.includes(*portion.changes[i])) wanted.push_back(i);
    }
    for (const std::size_t i : wanted) {
      at_ = portion.first + i;
      v1::WatchFilesResponse message = message_of(*portion.changes[i]);
      UNDERSTUDY_RETURN_IF_ERROR(write(message, i != wanted.back()));
    }
    at_ = portion.first - 1 + portion.changes.size();
    return absl::OkStatus();
  }

  absl::Status send_gap(std::uint64_t to, std::uint64_t missing, const std::string& why) {
    at_ = to;
    v1::WatchFilesResponse gap;
    gap.set_kind(v1::FILE_CHANGE_KIND_GAP);
    gap.set_reason(why);
    gap.set_missing(missing);
    *gap.mutable_applied_at() = rpc::timestamp_now();
    return write(gap, false);
  }

  absl::Status send_cursor() {
    v1::WatchFilesResponse cursor;
    cursor.set_kind(v1::FILE_CHANGE_KIND_CURSOR);
    return write(cursor, false);
  }

  absl::Status write(v1::WatchFilesResponse& message, bool more) {
    message.set_server(request_.server());
    message.set_cursor(fmt::format("{:x}:{:x}", feed_->id(), at_));
    sent_ = at_;
    return reader_.write(message, more) ? absl::OkStatus() : gone();
  }

  const v1::WatchFilesRequest& request_;
  const file_finder& find_;
  const file_reader& reader_;
  const file_choice choice_;
  std::shared_ptr<files::file_feed> feed_;
  std::uint64_t at_ = 0;    // everything up to here was sent, or not asked for
  std::uint64_t sent_ = 0;  // where the reader knows that he is
};

}  // namespace

absl::Status follow_files(const v1::WatchFilesRequest& request, const file_finder& find,
                          const file_reader& reader) {
  return file_follower(request, find, reader).run();
}

}  // namespace understudy::api
