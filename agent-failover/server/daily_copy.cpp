#include "agent-failover/server/daily_copy.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <grpcpp/channel.h>
#include <pthread.h>
#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "agent-failover/server/generation.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/sqlite/database.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using phase = daily_state::phase;
using std::chrono::milliseconds;

constexpr milliseconds look_every{100};         // at the streams, beside what they report
constexpr milliseconds gone_for{2000};          // a file that is being replaced is back by then
constexpr std::size_t seed_slice = 1 << 20;     // copied between two looks whether to end
constexpr std::uint64_t flush_bytes = 8 << 20;  // the disk starts early
constexpr int instructions_per_look = 100'000;  // of SQLite's machine

// What SQLite itself thinks of a database file that nobody has open: a primary whose database is damaged must
// not replace yesterday's good copy.
absl::Status let_sqlite_check(const std::string& path, const std::string& catalog,
                              std::atomic<bool>& cancelled) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto database, sqlite::database::open(path, {.create = false}));
  sqlite3_progress_handler(
      database.handle(), instructions_per_look,
      [](void* flag) { return static_cast<std::atomic<bool>*>(flag)->load() ? 1 : 0; }, &cancelled);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto check, database.prepare("PRAGMA quick_check(1)"));
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool said, check.step());
  const std::string verdict = said ? std::string(check.column_text(0)) : "nothing";
  if (verdict == "ok") return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("the primary's {} is damaged, PRAGMA quick_check says: {}", catalog, verdict));
}

}  // namespace

daily_copy::daily_copy(os::file_system& fs, const copy_layout& layout, std::string server,
                       std::function<void()> on_change)
    : fs_(fs), layout_(layout), server_(std::move(server)), on_change_(std::move(on_change)) {}

daily_copy::~daily_copy() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

void daily_copy::begin(const v1::ServerSpec& spec, std::set<std::string> may_lack) {
  cancel();
  if (thread_.joinable()) thread_.join();
  spec_ = spec;
  may_lack_ = std::move(may_lack);
  cancelled_ = false;
  begun_at_ = std::chrono::steady_clock::now();
  show({.now = phase::copying, .reason = "preparing"});
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "daily-copy");
}

void daily_copy::use(std::shared_ptr<grpc::Channel> channel) {
  const std::lock_guard lock(mutex_);
  channel_ = std::move(channel);
}

void daily_copy::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  state_ = {};
  changed_.notify_all();
}

daily_state daily_copy::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void daily_copy::show(daily_state state) {
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_) return;
    state_ = std::move(state);
  }
  on_change_();
}

void daily_copy::run() {
  images_.clear();
  without_.clear();
  const absl::Status made = make();
  lanes_.clear();
  if (made.ok()) {
    show({.now = phase::ready, .without = without_});
  } else if (!cancelled()) {
    log::warning(server_, "the new generation: {}", message_of(made));
    show({.now = phase::failed, .reason = std::string(message_of(made))});
  }
}

absl::Status daily_copy::make() {
  UNDERSTUDY_RETURN_IF_ERROR(begin_generation(fs_, layout_, spec_));
  for (const auto& database : spec_.databases()) {
    UNDERSTUDY_RETURN_IF_ERROR(seed(database));
    lanes_.push_back(std::make_unique<database_lane>(
        fs_, server_, database.catalog(), fmt::format("{}/{}.db", layout_.next(), database.catalog()),
        database.found() || may_lack_.contains(database.catalog()), [this] { changed_.notify_all(); }));
  }
  UNDERSTUDY_RETURN_IF_ERROR(bring_in_step());
  return verify();
}

// The copy in use as it lies there, read without a lock: what is torn or behind is a page that differs, and
// comes from the primary.
absl::Status daily_copy::seed(const v1::DatabaseSpec& database) {
  const std::string place = layout_.place_of(database.path());
  const auto slash = place.rfind('/');
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto live_directory, fs_.open_root(place.substr(0, slash)));
  const auto live = live_directory->open(place.substr(slash + 1), os::open_mode::read);
  if (absl::IsNotFound(live.status())) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(live.status());
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat like, (*live)->status());
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, fs_.open_root(layout_.next()));
  const std::vector<std::string> names = names_in_next(database.catalog());
  const std::string& marker = names.back();
  // What an earlier attempt made is nearer to the primary than the copy in use, unless that was written
  // since.
  const auto seeded = next->status(marker);
  const auto when = [](const struct ::stat& file) {
    return std::pair(file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
  };
  if (seeded.ok() && next->status(names.front()).ok() && when(like) <= when(*seeded)) return absl::OkStatus();
  for (const std::string& name : names) {
    if (const absl::Status gone = next->remove_file(name); !gone.ok() && !absl::IsNotFound(gone)) return gone;
  }
  UNDERSTUDY_RETURN_IF_ERROR(copy_in_use(database, **live, like, *next));
  return next->open(marker, os::open_mode::create_new).status();
}

absl::Status daily_copy::copy_in_use(const v1::DatabaseSpec& database, os::file& live,
                                     const struct ::stat& like, os::directory& next) {
  UNDERSTUDY_ASSIGN_OR_RETURN(
      const auto file, next.open(database.catalog() + ".db", os::open_mode::create_new, like.st_mode & 0777));
  UNDERSTUDY_RETURN_IF_ERROR(file->set_mode(like.st_mode & 0777));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat made, file->status());
  if (made.st_uid != like.st_uid || made.st_gid != like.st_gid)
    UNDERSTUDY_RETURN_IF_ERROR(file->set_owner(like.st_uid, like.st_gid));
  if (shares_blocks(fs_, layout_)) return file->clone_from(live);
  std::vector<std::byte> buffer(seed_slice);
  std::uint64_t unflushed = 0;
  for (std::uint64_t at = 0;;) {
    if (cancelled()) return absl::CancelledError("cancelled");
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, live.read_at(buffer, at));
    if (n == 0) return file->sync_data();
    UNDERSTUDY_RETURN_IF_ERROR(file->write_at(std::span(buffer).first(n), at));
    at += n;
    if ((unflushed += n) >= flush_bytes) {
      (void)::sync_file_range(file->descriptor(), 0, 0, SYNC_FILE_RANGE_WRITE);
      unflushed = 0;
      show({.now = phase::copying,
            .reason = database.catalog() + ": from the copy in use",
            .bytes_done = at,
            .bytes_total = static_cast<std::uint64_t>(like.st_size)});
    }
  }
}

absl::Status daily_copy::bring_in_step() {
  std::map<std::string, std::string> gone;
  auto gone_since = std::chrono::steady_clock::now();
  for (;;) {
    std::shared_ptr<grpc::Channel> channel;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, look_every);
      if (cancelled_) return absl::CancelledError("cancelled");
      channel = channel_;
    }
    bool in_step = true;
    std::size_t streaming = 0;
    std::map<std::string, std::string> gone_now;
    daily_state seen{.now = phase::copying};
    for (auto& lane : lanes_) {
      lane->keep(channel);
      const v1::CopyStatus status = lane->status();
      seen.bytes_done += status.bytes_done();
      seen.bytes_total += status.bytes_total();
      if (status.phase() == v1::COPY_PHASE_STREAMING) {
        ++streaming;
        continue;
      }
      if (seen.reason.empty()) seen.reason = fmt::format("{}: {}", lane->name(), status.reason());
      if (status.phase() == v1::COPY_PHASE_STOPPED) {  // only what may be missing says so
        gone_now.emplace(lane->name(), status.reason());
        continue;
      }
      in_step = false;
      // Waiting helps against a cut line and a primary that is not ready, not against these.
      const absl::Status end = lane->last_end();
      if (absl::IsResourceExhausted(end) || absl::IsPermissionDenied(end) ||
          (absl::IsNotFound(end) && !lane->was_found()))
        return end;
    }
    show(std::move(seen));
    const auto now = std::chrono::steady_clock::now();
    if (gone_now != gone) gone_since = now;
    gone = std::move(gone_now);
    const bool named =
        std::any_of(gone.begin(), gone.end(), [&](const auto& one) { return may_lack_.contains(one.first); });
    // A generation of nothing is none.
    if (!in_step || (named && (streaming == 0 || now < gone_since + gone_for))) continue;
    return leave_out(std::move(gone));
  }
}

absl::Status daily_copy::leave_out(std::map<std::string, std::string> without) {
  // The end of a stream keeps what was received whole, so each ends at a commit.
  for (auto& lane : lanes_) lane->stop();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, fs_.open_root(layout_.next()));
  for (auto& lane : lanes_) {
    if (!without.contains(lane->name())) continue;
    lane->close();
    for (const std::string& name : names_in_next(lane->name())) {
      if (const absl::Status removed = next->remove_file(name); !removed.ok() && !absl::IsNotFound(removed))
        return removed;
    }
  }
  without_ = std::move(without);
  return absl::OkStatus();
}

absl::Status daily_copy::verify() {
  for (auto& lane : lanes_) {
    if (without_.contains(lane->name())) {
      images_.emplace_back();
      continue;
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(
        finished_image image, lane->finish([&](std::uint64_t done, std::uint64_t total) {
          show({.now = phase::verifying, .reason = lane->name(), .bytes_done = done, .bytes_total = total});
          return !cancelled();
        }));
    images_.push_back(std::move(image));
    UNDERSTUDY_RETURN_IF_ERROR(
        let_sqlite_check(fmt::format("{}/{}.db", layout_.next(), lane->name()), lane->name(), cancelled_));
  }
  return absl::OkStatus();
}

absl::Status daily_copy::switch_over(const std::vector<std::shared_ptr<database_lane>>& live,
                                     const std::function<absl::Status(std::size_t, finished_image&)>& adapt) {
  if (state().now != phase::ready) return absl::FailedPreconditionError("no new generation is ready");
  thread_.join();
  absl::Status switched;
  for (std::size_t i = 0; adapt && switched.ok() && i < images_.size(); ++i) switched = adapt(i, images_[i]);
  if (switched.ok()) switched = put_in_use(fs_, layout_, live, std::move(images_));
  if (switched.ok()) {
    show({.now = phase::done, .without = without_});
  } else {
    show({.now = phase::failed, .reason = std::string(message_of(switched))});
  }
  return switched;
}

}  // namespace understudy::server
