#include "agent-failover/server/replication.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "agent-failover/history/keeper.hpp"
#include "agent-failover/server/copied_databases.hpp"
#include "agent-failover/server/database_lane.hpp"
#include "agent-failover/server/file_lane.hpp"
#include "agent-failover/server/generation.hpp"
#include "agent-failover/server/tables_lane.hpp"
#include "agent-failover/server/timed_wait.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/os/time_stamp.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr const char* daily_file = "daily";  // Unix ms, as text
constexpr milliseconds drain_poll{5};  // drained streams report themselves; this only bounds a missed report

}  // namespace

namespace {

absl::Status ended_early(const stream_lane& lane) {
  return absl::UnavailableError(
      fmt::format("the stream of {} ended before everything was sent", lane.name()));
}

}  // namespace

replication::replication(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec,
                         std::function<void()> on_change)
    : fs_(fs),
      layout_(layout),
      name_(spec.name()),
      mode_(spec.mode()),
      daily_at_(spec.daily()),
      on_change_(std::move(on_change)),
      spec_(spec),
      daily_(fs, layout, name_, on_change_),
      caretaker_(
          name_, [this] { return database_lanes_now(); }, on_change_) {
  for (int i = 0; i < spec_.files_size(); ++i) {
    files_.push_back(
        std::make_shared<file_lane>(fs_, spec_, static_cast<std::uint32_t>(i), layout_, on_change_));
  }
  const std::lock_guard lock(changing_);
  for (const auto& database : spec_.databases()) {
    databases_.push_back(lane_for(database));
    add_tables(database, databases_.back(), tables_);
  }
  look_for_first_copies();  // nothing is opened where a stand-in has the copies
}

std::shared_ptr<database_lane> replication::lane_for(const v1::DatabaseSpec& database) const {
  return std::make_shared<database_lane>(fs_, name_, database.catalog(), layout_.place_of(database.path()),
                                         database.found(), on_change_);
}

void replication::add_tables(const v1::DatabaseSpec& database, const std::shared_ptr<database_lane>& copy,
                             tables_lanes& to) const {
  const auto& named = database.configuration_tables();
  if (mode_ != v1::REPLICATION_MODE_CONFIGURATION || named.empty()) return;
  to.push_back(std::make_shared<tables_lane>(
      name_, copy, std::vector<std::string>(named.begin(), named.end()), on_change_));
}

replication::database_lanes replication::database_lanes_now() const {
  const std::lock_guard lock(changing_);
  return databases_;
}

replication::tables_lanes replication::tables_lanes_now() const {
  const std::lock_guard lock(changing_);
  return tables_;
}

std::vector<std::shared_ptr<stream_lane>> replication::all() const {
  std::vector<std::shared_ptr<stream_lane>> lanes;
  for (auto& lane : database_lanes_now()) lanes.push_back(std::move(lane));
  for (const auto& lane : files_) lanes.push_back(lane);
  return lanes;
}

replication::~replication() {
  stop();
}

void replication::keep_history(history::keeper* keeper) {
  for (auto& lane : tables_) lane->close();
  for (auto& lane : databases_)
    lane->keep_history(keeper != nullptr ? keeper->history_of(lane->name()) : nullptr);
}

void replication::tell_file_changes(const std::shared_ptr<files::file_feed>& feed) {
  for (auto& lane : files_) lane->tell_changes(feed);
}

absl::Status replication::open() {
  UNDERSTUDY_RETURN_IF_ERROR(layout_.prepare(fs_, spec_));
  UNDERSTUDY_RETURN_IF_ERROR(read_daily_done());
  if (absl::Status completed = complete_generation(fs_, layout_, spec_); !completed.ok()) {
    // Each database is whole all the same, in its old generation or its new one.
    log::error(spec_.name(), "a new generation cannot take the copy's place: {}", message_of(completed));
  }
  for (const auto& lane : all()) UNDERSTUDY_RETURN_IF_ERROR(lane->open());
  look_for_first_copies();
  note_first_copies();
  return absl::OkStatus();
}

void replication::look_for_first_copies() {
  const std::vector<std::string> first = missing_copies_of(fs_, layout_, spec_).first;
  for (const auto& lane : databases_)
    lane->set_first_copy(std::find(first.begin(), first.end(), lane->name()) != first.end());
}

// What has a copy now is missed from now on if that is lost.
void replication::note_first_copies() {
  std::set<std::string> whole;
  for (const auto& lane : databases_) {
    if (!lane->complete()) continue;
    whole.insert(lane->name());
    lane->set_first_copy(false);
  }
  if (absl::Status noted = note_copied(fs_, layout_, spec_, whole); !noted.ok())
    log::warning(name_, "which databases have a copy cannot be kept: {}", message_of(noted));
}

std::vector<std::string> replication::first_copies() const {
  std::vector<std::string> names;
  for (const auto& lane : database_lanes_now()) {
    if (lane->is_first_copy() && !lane->complete()) names.push_back(lane->name());
  }
  return names;
}

absl::Status replication::adopt(const v1::ServerSpec& spec, history::keeper* keeper) {
  daily_.cancel();  // one that has ended: it was of the former databases
  database_lanes databases;
  tables_lanes tables;
  database_lanes added;
  for (const auto& database : spec.databases()) {
    const auto present = std::find_if(databases_.begin(), databases_.end(),
                                      [&](const auto& lane) { return lane->name() == database.catalog(); });
    if (present != databases_.end()) {
      databases.push_back(*present);
      for (const auto& lane : tables_) {
        if (&lane->copy() == present->get()) tables.push_back(lane);
      }
      continue;
    }
    const auto& lane = added.emplace_back(lane_for(database));
    if (keeper != nullptr) lane->keep_history(keeper->history_of(lane->name()));
    databases.push_back(lane);
    add_tables(database, lane, tables);
    for (const auto& files : files_) files->exclude(database.path());
  }
  const v1::ServerSpec former = std::exchange(spec_, spec);
  {
    const std::lock_guard lock(changing_);
    databases.swap(databases_);
    tables.swap(tables_);
  }
  // Now the former ones. A tables' lane ends before that of its database.
  for (const auto& lane : tables) {
    if (std::find(tables_.begin(), tables_.end(), lane) == tables_.end()) lane->close();
  }
  for (std::size_t i = 0; i < databases.size(); ++i) {
    if (std::find(databases_.begin(), databases_.end(), databases[i]) != databases_.end()) continue;
    databases[i]->close();
    layout_.remove_unfinished(former.databases(static_cast<int>(i)));
  }
  UNDERSTUDY_RETURN_IF_ERROR(layout_.prepare(fs_, spec_));
  for (const auto& lane : added) UNDERSTUDY_RETURN_IF_ERROR(lane->open());
  on_change_();
  return absl::OkStatus();
}

void replication::keep(const std::shared_ptr<grpc::Channel>& channel, streams_wanted wanted) {
  if (channel && std::any_of(databases_.begin(), databases_.end(),
                             [](const auto& lane) { return lane->is_first_copy() && lane->complete(); }))
    note_first_copies();
  for (auto& lane : databases_) lane->keep(wanted.databases ? channel : nullptr);
  for (auto& lane : tables_) lane->keep(wanted.tables && lane->copy().complete() ? channel : nullptr);
  for (auto& lane : files_) lane->keep(wanted.files ? channel : nullptr);
  const daily_state daily = daily_.state();
  if (!wanted.generation) {
    if (daily.now != daily_state::phase::idle) daily_.cancel();
    return;
  }
  daily_.use(channel);
  if (daily.now == daily_state::phase::idle) daily_.begin(spec_, may_lack());
  if (daily.now != daily_state::phase::ready) return;
  const absl::Status switched = switch_over();
  if (switched.ok()) return;
  log::error(spec_.name(), "the new generation is not in use: {}", message_of(switched));
  // Beyond the decision it is the one all the same: as after a crash.
  for (auto& lane : tables_) lane->close();
  for (auto& lane : databases_) lane->close();
  absl::Status again = complete_generation(fs_, layout_, spec_);
  for (auto& lane : databases_) again.Update(lane->open());
  if (!again.ok()) log::error(spec_.name(), "and cannot be put in use: {}", message_of(again));
}

// A server is as protected without what its primary does not have: its copy stays, or there never was any. A
// copy that was lost is not gone without.
std::set<std::string> replication::may_lack() const {
  std::set<std::string> catalogs;
  for (int i = 0; i < spec_.databases_size(); ++i) {
    const auto& lane = databases_[static_cast<std::size_t>(i)];
    if (!spec_.databases(i).found() && (lane->complete() || lane->is_first_copy()))
      catalogs.insert(lane->name());
  }
  return catalogs;
}

// What was acknowledged of the named tables goes into the new generation before anybody sees it.
absl::Status replication::switch_over() {
  for (auto& lane : tables_) lane->stop();
  const auto adapt = [&](std::size_t i, finished_image& image) {
    for (auto& lane : tables_) {
      if (&lane->copy() != databases_[i].get()) continue;
      const auto merge = [&]() -> absl::Status {
        UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, fs_.open_root(layout_.next()));
        return lane->merge_into(*next, lane->name() + ".db", image, daily_.begun_at());
      };
      if (const absl::Status merged = merge(); !merged.ok()) return merged;
    }
    return absl::OkStatus();
  };
  // Before anybody sees that it is done.
  auto without = daily_.state().without;
  const auto exchange_without = [&] {
    const std::lock_guard lock(changing_);
    without_.swap(without);
  };
  exchange_without();
  if (absl::Status switched = daily_.switch_over(databases_, adapt); !switched.ok()) {
    exchange_without();
    return switched;
  }
  for (auto& lane : tables_) lane->copy_changed();
  return absl::OkStatus();
}

// Databases that are fed once a day, but for the tables named.
bool replication::at_rest() const {
  return mode_ == v1::REPLICATION_MODE_WARM || mode_ == v1::REPLICATION_MODE_CONFIGURATION;
}

void replication::stop() {
  daily_.cancel();
  for (auto& lane : tables_) lane->stop();
  for (const auto& lane : all()) lane->stop();
}

absl::Status replication::catch_up(const std::shared_ptr<grpc::Channel>& channel, milliseconds timeout,
                                   const std::function<bool()>& given_up) {
  if (!at_rest()) return absl::OkStatus();
  daily_.cancel();
  hand_over_tables();
  const auto deadline = steady_clock::now() + timeout;
  timed_wait poll;
  for (;;) {
    std::string missing;
    for (auto& lane : databases_) {
      lane->keep(channel);
      if (lane->status().phase() == v1::COPY_PHASE_STREAMING || lane->is_not_waited_for()) continue;
      missing += (missing.empty() ? "" : ", ") + lane->name();
    }
    if (missing.empty()) return absl::OkStatus();
    if (given_up()) return absl::CancelledError("cancelled");
    if (steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          fmt::format("not in step within {} min: {}", timeout.count() / 60'000, missing));
    }
    poll.until(steady_clock::now() + drain_poll, [] { return false; });
  }
}

// What follows brings whole databases.
void replication::hand_over_tables() {
  for (auto& lane : tables_) {
    lane->stop();
    lane->copy_changed();
  }
}

absl::Status replication::drain(milliseconds timeout, const std::shared_ptr<grpc::Channel>& channel) {
  const bool rest = at_rest() && channel == nullptr;
  std::vector<stream_lane*> fed;
  for (auto& lane : files_) fed.push_back(lane.get());
  if (rest) {
    for (auto& lane : tables_) {
      if (lane->running()) fed.push_back(lane.get());
    }
  } else {
    hand_over_tables();
    for (auto& lane : databases_) fed.push_back(lane.get());
  }
  const auto is_not_waited_for = [this](const stream_lane* lane) {
    return std::any_of(databases_.begin(), databases_.end(),
                       [lane](const auto& one) { return one.get() == lane && one->is_not_waited_for(); });
  };
  const auto deadline = steady_clock::now() + timeout;
  timed_wait poll;
  for (;;) {
    // Resting ones begin here, and again after a back-off; asking for the end more than once does no harm.
    for (auto& lane : databases_) {
      if (at_rest() && !rest && !lane->drained()) lane->keep(channel);
    }
    for (stream_lane* lane : fed) lane->drain();
    std::string missing;
    for (const stream_lane* lane : fed) {
      if (!lane->drained() && !is_not_waited_for(lane))
        missing += (missing.empty() ? "" : ", ") + lane->name();
    }
    if (missing.empty()) return absl::OkStatus();
    for (auto& lane : databases_) {
      if (!at_rest() && !lane->running() && !lane->drained() && !lane->is_not_waited_for())
        return ended_early(*lane);
    }
    for (auto& lane : tables_) {
      if (rest && !lane->running() && !lane->drained()) return ended_early(*lane);
    }
    if (steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(
          fmt::format("not everything arrived within {} s: {}", timeout.count() / 1000, missing));
    }
    poll.until(steady_clock::now() + drain_poll, [] { return false; });
  }
}

absl::StatusOr<std::vector<store::freeze_row>> replication::registers() {
  std::vector<store::freeze_row> rows;
  for (auto& lane : databases_) {
    auto row = lane->image();
    if (!row.ok() && lane->may_be_missing() && !lane->complete()) continue;
    UNDERSTUDY_RETURN_IF_ERROR(row.status());
    rows.push_back(*std::move(row));
  }
  return rows;
}

absl::Status replication::verify(const std::vector<store::freeze_row>& frozen) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::vector<store::freeze_row> now, registers());
  for (const auto& row : now) {
    auto recorded =
        std::find_if(frozen.begin(), frozen.end(), [&](const auto& f) { return f.catalog == row.catalog; });
    if (recorded == frozen.end() || recorded->hash != row.hash || recorded->pages != row.pages) {
      return absl::DataLossError(fmt::format("the copy of {} is not what was frozen", row.catalog));
    }
  }
  return absl::OkStatus();
}

absl::Status replication::release_to_stand_in() {
  stop();
  for (auto& lane : tables_) UNDERSTUDY_RETURN_IF_ERROR(lane->release());
  for (std::size_t i = 0; i < databases_.size(); ++i) {
    const auto& lane = databases_[i];
    if (lane->may_be_missing() && !lane->complete()) {
      log::warning(spec_.name(), "there is no copy of {} yet: the stand-in goes without it", lane->name());
      lane->close();
      layout_.remove_unfinished(spec_.databases(static_cast<int>(i)));
    } else {
      UNDERSTUDY_RETURN_IF_ERROR(lane->release());
    }
  }
  for (auto& lane : files_) UNDERSTUDY_RETURN_IF_ERROR(lane->release());
  return absl::OkStatus();
}

absl::Status replication::take_back() {
  for (auto& lane : databases_) UNDERSTUDY_RETURN_IF_ERROR(lane->take_back());
  return absl::OkStatus();
}

absl::StatusOr<std::string> replication::set_copy_aside() {
  for (auto& lane : tables_) lane->close();
  for (const auto& lane : all()) lane->close();
  const std::string directory =
      fmt::format("{}/{}", layout_.set_aside(), os::time_stamp(system_clock::now()));
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs_, directory));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto from, fs_.open_root(layout_.directory()));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto to, fs_.open_root(directory));
  absl::Status moved = from->rename("root", *to, "root", os::rename_mode::no_replace);
  if (!moved.ok() && !absl::IsNotFound(moved)) return moved;
  UNDERSTUDY_RETURN_IF_ERROR(to->sync());
  UNDERSTUDY_RETURN_IF_ERROR(from->sync());
  UNDERSTUDY_RETURN_IF_ERROR(layout_.prepare(fs_, spec_));
  return directory;
}

absl::Status replication::set_aside(const std::set<std::string>& catalogs, const std::string& name) {
  const std::string directory = fmt::format("{}/{}", layout_.set_aside(), name);
  for (std::size_t i = 0; i < databases_.size(); ++i) {
    const auto& lane = databases_[i];
    const std::string place = layout_.place_of(spec_.databases(static_cast<int>(i)).path());
    const std::string file = place.substr(place.rfind('/') + 1);
    if (!catalogs.contains(lane->name())) continue;
    lane->close();
    lane->set_first_copy(true);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto from, fs_.open_root(place.substr(0, place.rfind('/'))));
    if (absl::IsNotFound(from->status(file).status())) continue;
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs_, directory));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto to, fs_.open_root(directory));
    // The database itself goes last: after a crash the rest of it is found again by it.
    for (const char* suffix : {"-wal", "-shm", "-journal", ""}) {
      const absl::Status moved = from->rename(
          file + suffix, *to, fmt::format("{}.db{}", lane->name(), suffix), os::rename_mode::no_replace);
      if (!moved.ok() && !absl::IsNotFound(moved)) return moved;
      if (moved.ok()) {
        UNDERSTUDY_RETURN_IF_ERROR(to->sync());
        UNDERSTUDY_RETURN_IF_ERROR(from->sync());
      }
    }
    log::info(name_, "what the stand-in wrote to {} is set aside at {}", lane->name(), directory);
  }
  return note_copied(fs_, layout_, spec_, {}, catalogs);
}

void replication::verify_with_primary() {
  stop();
}

absl::Status replication::read_daily_done() {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs_.open_root(layout_.directory()));
  const auto file = directory->open(daily_file, os::open_mode::read);
  if (absl::IsNotFound(file.status())) {
    note_daily_done(system_clock::now());
    return absl::OkStatus();
  }
  UNDERSTUDY_RETURN_IF_ERROR(file.status());
  std::string text(32, '\0');
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                              (*file)->read_at(std::as_writable_bytes(std::span(text)), 0));
  // A record that says nothing makes one run too many, never one too few.
  std::int64_t ms = 1;
  (void)std::from_chars(text.data(), text.data() + n, ms);
  daily_done_ms_ = std::max<std::int64_t>(ms, 1);
  return absl::OkStatus();
}

std::optional<system_clock::time_point> replication::daily_done() const {
  const std::int64_t ms = daily_done_ms_;
  if (ms == 0) return std::nullopt;
  return system_clock::time_point(milliseconds(ms));
}

void replication::note_daily_done(system_clock::time_point time) {
  const std::int64_t ms = std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
  daily_done_ms_ = ms;
  const auto write = [&]() -> absl::Status {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs_.open_root(layout_.directory()));
    return os::replace_file(*directory, daily_file, fmt::format("{}\n", ms));
  };
  if (absl::Status written = write(); !written.ok()) {
    log::warning(spec_.name(), "when the daily replication was done cannot be kept: {}", message_of(written));
  }
}

std::vector<v1::CopyStatus> replication::databases() const {
  std::vector<v1::CopyStatus> all;
  const daily_state daily = daily_.state();
  const bool copying = daily.now == daily_state::phase::copying || daily.now == daily_state::phase::verifying;
  const tables_lanes all_tables = tables_lanes_now();
  for (const auto& lane : database_lanes_now()) {
    v1::CopyStatus status = lane->status();
    const auto named = std::find_if(all_tables.begin(), all_tables.end(),
                                    [&](const auto& tables) { return &tables->copy() == lane.get(); });
    if (named != all_tables.end() && lane->complete() && !lane->running() && !copying) {
      status = (*named)->status();
    } else if (at_rest() && !lane->running()) {
      status.clear_behind();
      status.clear_behind_since();
      if (copying) {
        status.set_phase(v1::COPY_PHASE_COPYING);
        status.set_reason(daily.reason);
        status.set_bytes_done(daily.bytes_done);
        status.set_bytes_total(daily.bytes_total);
      } else if (lane->complete()) {
        status.set_phase(v1::COPY_PHASE_STOPPED);
        status.set_reason(daily_at_.empty() ? "copied by hand" : "copied daily at " + daily_at_);
      }
    }
    all.push_back(std::move(status));
  }
  return all;
}

std::vector<v1::CopyStatus> replication::files() const {
  std::vector<v1::CopyStatus> all;
  for (const auto& lane : files_) all.push_back(lane->status());
  return all;
}

bool replication::complete() const {
  const auto whole = [](const auto& lane) { return lane->complete(); };
  const database_lanes databases = database_lanes_now();
  return std::all_of(files_.begin(), files_.end(), whole) &&
         std::all_of(databases.begin(), databases.end(),
                     [&](const auto& lane) { return lane->may_be_missing() || whole(lane); });
}

std::set<std::string> replication::without_copy() const {
  std::set<std::string> names;
  for (const auto& lane : database_lanes_now()) {
    if (!lane->complete()) names.insert(lane->name());
  }
  return names;
}

std::map<std::string, std::string> replication::missing_there() const {
  std::map<std::string, std::string> missing;
  const std::lock_guard lock(changing_);
  for (const auto& lane : databases_) {
    if (lane->was_found()) continue;
    if (const auto known = without_.find(lane->name()); at_rest() && known != without_.end())
      missing.insert(*known);
    else if (const std::string why = lane->absent_there(); !why.empty() && lane->is_first_copy())
      missing.emplace(lane->name(), "there is none on the primary: " + why);
  }
  return missing;
}

std::string replication::out_of_space() const {
  for (const auto& lane : all()) {
    const absl::Status end = lane->last_end();
    if (!lane->running() && is_out_of_space(end)) return fmt::format("{}: {}", lane->name(), message_of(end));
  }
  return "";
}

system_clock::time_point replication::last_durable_commit() const {
  std::chrono::system_clock::time_point last;
  for (const auto& lane : database_lanes_now()) last = std::max(last, lane->last_durable_commit());
  for (const auto& lane : tables_lanes_now()) last = std::max(last, lane->last_durable_commit());
  return last;
}

}  // namespace understudy::server
