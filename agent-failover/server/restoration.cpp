#include "agent-failover/server/restoration.hpp"

#include <fmt/core.h>
#include <grpcpp/channel.h>

#include <algorithm>
#include <filesystem>
#include <future>
#include <mutex>
#include <utility>

#include "agent-failover/replica/tree/frozen_base.hpp"
#include "agent-failover/server/stream_watch.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/files/file_source.hpp"
#include "agent-primary/files/restore_stream.hpp"
#include "common/channel/database_streams.hpp"
#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::server {
namespace {

using channel::database_progress;
using files::files_progress;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds adopt_silence{60};  // the agent speaks every second while it is at work
constexpr std::chrono::minutes files_adopt{30};    // a rename and some per file that differs
constexpr milliseconds adopt_poll{100};            // for a failback that is given up
constexpr milliseconds work_is_told{2500};         // older than two reports: it is over
constexpr std::size_t most_named = 10;             // of databases, in an event

void fill(v1::DatabaseImage& image, std::uint32_t page_size, std::uint32_t pages,
          const sqlite::page_hash& hash) {
  image.set_exists(true);
  image.set_page_size(page_size);
  image.set_pages(pages);
  image.mutable_hash()->set_high(hash.high);
  image.mutable_hash()->set_low(hash.low);
}

// The first names of a list that may be long.
std::string some_of(const std::vector<std::string>& paths, std::uint64_t count, std::size_t most = 5) {
  std::string text;
  for (std::size_t i = 0; i < paths.size() && i < most; ++i)
    text += (i == 0 ? "" : ", ") + files::printable(paths[i]);
  return count > most ? fmt::format("{} and {} more", text, count - most) : text;
}

}  // namespace

bool has_content(const std::string& place) {
  std::error_code absent;
  const auto bytes = std::filesystem::file_size(place, absent);
  return !absent && bytes > 0;
}

// One database on its way back.
class restoration::way {
 public:
  // `made`: by the stand-in.
  way(capture::capture_engine& engine, const v1::DatabaseSpec& database, std::string place, bool made,
      std::function<void()> on_change)
      : watch_(database.catalog(), std::move(on_change)),
        path_(database.path()),
        place_(std::move(place)),
        found_(database.found()),
        made_(made),
        engine_(engine) {}

  ~way() {
    stream_.reset();
    if (source_) engine_.remove(place_);
  }

  void start(const std::shared_ptr<grpc::Channel>& channel, std::uint64_t epoch) {
    source_ = engine_.add(place_);
    auto callbacks = watch_.callbacks<channel::stream_callbacks>();
    callbacks.on_work = [this](const channel::restore_work& work) {
      {
        std::lock_guard lock(mutex_);
        work_ = work;
        heard_ = steady_clock::now();
      }
      watch_.touched();
    };
    stream_ =
        channel::start_database_restore(channel, watch_.name(), epoch, source_, std::move(callbacks), path_);
  }

  void drain() { stream_->drain(); }

  absl::Status wait_for(database_progress::phase wanted, steady_clock::time_point deadline) {
    return watch_.wait_for(wanted, deadline);
  }

  // As long as the agent says that it is at work.
  absl::StatusOr<v1::Adopted> adopt(const std::vector<store::freeze_row>& base, v1::DivergedChoice choice,
                                    const std::function<bool()>& given_up) {
    const channel::source_state state = source_->state();
    v1::AdoptImage request;
    fill(*request.mutable_image(), state.page_size, state.database_pages, state.combined);
    for (const auto& row : base) {
      if (row.catalog == watch_.name()) fill(*request.mutable_base(), row.page_size, row.pages, row.hash);
    }
    request.set_choice(choice);
    // Shared, for the answer may come after the wait was given up.
    auto answer = std::make_shared<std::promise<absl::StatusOr<v1::Adopted>>>();
    auto future = answer->get_future();
    {
      std::lock_guard lock(mutex_);
      work_ = {.what = "putting it in place"};
      heard_ = steady_clock::now();
    }
    stream_->adopt(request,
                   [answer](const absl::StatusOr<v1::Adopted>& adopted) { answer->set_value(adopted); });
    while (future.wait_for(adopt_poll) != std::future_status::ready) {
      if (given_up()) return absl::CancelledError("cancelled");
      std::lock_guard lock(mutex_);
      if (steady_clock::now() < heard_ + adopt_silence) continue;
      return watch_.named(absl::DeadlineExceededError(fmt::format(
          "the primary did not say for {} s that the image is being put in place", adopt_silence.count())));
    }
    absl::StatusOr<v1::Adopted> adopted = future.get();
    if (!adopted.ok()) return watch_.named(adopted.status());
    return adopted;
  }

  void add_to(restoration_progress& all) const {
    const database_progress one = watch_.progress();
    std::lock_guard lock(mutex_);
    // Beside the stream, which says nothing meanwhile, the agent's own work is what there is to tell.
    const bool at_work = steady_clock::now() < heard_ + work_is_told;
    all.phase = fmt::format("{}: {}", watch_.name(), at_work ? work_.what : channel::to_string(one.now));
    all.bytes_done += at_work ? work_.bytes_done : one.done_bytes;
    all.bytes_total += at_work ? work_.bytes_total : one.total_bytes;
  }
  const std::string& catalog() const { return watch_.name(); }
  const std::string& path() const { return path_; }  // on the primary
  const std::string& place() const { return place_; }
  bool found() const { return found_; }
  bool made() const { return made_; }
  channel::source_state source() const { return source_->state(); }

 private:
  stream_watch<database_progress> watch_;
  const std::string path_;
  const std::string place_;
  const bool found_;
  const bool made_;
  capture::capture_engine& engine_;
  std::shared_ptr<channel::database_source> source_;
  mutable std::mutex mutex_;
  channel::restore_work work_;
  steady_clock::time_point heard_{};                 // of the agent's own work
  std::unique_ptr<channel::restore_stream> stream_;  // goes first: it calls back
};

// One file tree on its way back.
class restoration::tree_way {
 public:
  tree_way(const std::string& base, std::function<void()> on_change) : watch_(base, std::move(on_change)) {}

  absl::Status start(const std::shared_ptr<grpc::Channel>& channel, std::uint32_t index, std::uint64_t epoch,
                     const v1::FileSelection& selection, const copy_layout& layout) {
    files::file_source_options options{.what = files::from_message(selection)};
    options.root = layout.place_of(watch_.name());
    UNDERSTUDY_ASSIGN_OR_RETURN(source_, files::file_source::start(std::move(options)));
    const files::frozen_base frozen =
        files::load_base(os::posix_file_system(), layout.directory(), fmt::format("files-{}", index));
    stream_ = files::start_files_restore(channel, index, epoch, files::to_message(frozen), source_,
                                         watch_.callbacks<files::files_callbacks>());
    return absl::OkStatus();
  }

  void drain() { stream_->drain(); }

  // In step, or drained, and what has diverged is known.
  absl::Status wait_for(files_progress::verdict wanted, steady_clock::time_point deadline) {
    return watch_.wait_for([wanted](const files_progress& now) { return now.judged >= wanted; }, deadline);
  }

  absl::StatusOr<v1::RestoreFilesResponse> adopt(v1::DivergedChoice choice,
                                                 const std::function<bool()>& given_up) {
    // Shared, for the answer may come after the wait was given up.
    auto answer = std::make_shared<std::promise<absl::StatusOr<v1::RestoreFilesResponse>>>();
    auto future = answer->get_future();
    stream_->adopt(
        choice == v1::DIVERGED_CHOICE_DISCARD_PRIMARY,
        [answer](const absl::StatusOr<v1::RestoreFilesResponse>& done) { answer->set_value(done); });
    const auto deadline = steady_clock::now() + files_adopt;
    while (future.wait_for(adopt_poll) != std::future_status::ready) {
      if (given_up()) return absl::CancelledError("cancelled");
      if (steady_clock::now() < deadline) continue;
      return watch_.named(absl::DeadlineExceededError(fmt::format(
          "the primary did not say within {} min that the files are in place", files_adopt.count())));
    }
    absl::StatusOr<v1::RestoreFilesResponse> done = future.get();
    if (!done.ok()) return watch_.named(done.status());
    return done;
  }

  files_progress progress() const { return watch_.progress(); }
  const std::string& name() const { return watch_.name(); }

  void add_to(restoration_progress& all) const {
    const files_progress one = watch_.progress();
    if (one.now == files_progress::phase::comparing)
      all.phase = fmt::format("{}: {}", watch_.name(), files::to_string(one.now));
    all.bytes_done += one.bytes_done;
    all.bytes_total += one.bytes_total;
  }

 private:
  stream_watch<files_progress> watch_;
  std::shared_ptr<files::file_source> source_;
  std::unique_ptr<files::restore_files_stream> stream_;  // goes first: it calls back
};

restoration::restoration(capture::capture_engine& engine, const copy_layout& layout,
                         const v1::ServerSpec& spec, std::function<void()> on_change)
    : engine_(engine), layout_(layout), spec_(spec), on_change_(std::move(on_change)) {}

restoration::~restoration() = default;

void restoration::bring(const v1::DatabaseSpec& database, bool made) {
  auto lane = std::make_unique<way>(engine_, database, layout_.place_of(database.path()), made, on_change_);
  lane->start(channel_, epoch_);
  std::lock_guard lock(lanes_);
  databases_.push_back(std::move(lane));
}

absl::Status restoration::begin(const std::shared_ptr<grpc::Channel>& channel, std::uint64_t epoch,
                                const made_databases& made, const std::set<std::string>& left_there) {
  channel_ = channel;
  epoch_ = epoch;
  left_there_ = left_there;
  for (const auto& database : spec_.databases()) {
    if (left_there.contains(database.catalog()) ||
        (database.found() && !has_content(layout_.place_of(database.path())))) {
      log::info(spec_.name(), "there is nothing of {} here to bring back", database.catalog());
      continue;
    }
    bring(database, false);
  }
  follow(made);
  for (int i = 0; i < spec_.files_size(); ++i) {
    auto& tree = trees_.emplace_back(std::make_unique<tree_way>(spec_.files(i).base(), on_change_));
    UNDERSTUDY_RETURN_IF_ERROR(
        tree->start(channel, static_cast<std::uint32_t>(i), epoch, spec_.files(i), layout_));
  }
  return absl::OkStatus();
}

void restoration::follow(const made_databases& made) {
  unreadable_.clear();
  left_ = made.left;
  for (const auto& database : made.bring) {
    const bool known = std::any_of(databases_.begin(), databases_.end(),
                                   [&](const auto& lane) { return lane->path() == database.path(); });
    if (known) continue;
    log::info(spec_.name(), "{} was made by the stand-in, and goes to the primary as {}", database.path(),
              database.catalog());
    bring(database, true);
    drained_ = false;
  }
}

void restoration::leave_unreadable() {
  std::vector<std::unique_ptr<way>> over;  // its end waits for threads
  for (std::size_t i = databases_.size(); i-- > 0;) {
    way& lane = *databases_[i];
    if (!lane.found()) continue;
    const channel::source_state source = lane.source();
    const bool refused = lane.made() && source.now == channel::source_state::phase::refused;
    if (has_content(lane.place()) && !refused) continue;
    if (refused) unreadable_.push_back(fmt::format("{} ({})", lane.path(), source.reason));
    log::warning(spec_.name(), "{} does not go to the primary: {}", lane.path(),
                 refused ? source.reason : "it is gone");
    std::lock_guard lock(lanes_);
    over.push_back(std::move(databases_[i]));
    databases_.erase(databases_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

std::vector<std::string> restoration::remarks(const std::vector<store::freeze_row>& base) const {
  std::vector<std::string> made;
  for (const auto& lane : databases_) {
    if (lane->made()) made.push_back(lane->path());
  }
  std::vector<std::string> left = left_;
  left.insert(left.end(), unreadable_.begin(), unreadable_.end());
  std::vector<std::string> deleted;
  std::vector<std::string> never_here;
  for (const auto& database : spec_.databases()) {
    if (left_there_.contains(database.catalog())) never_here.push_back(database.path());
    if (has_content(layout_.place_of(database.path())) || !database.found()) continue;
    if (std::any_of(base.begin(), base.end(),
                    [&](const auto& row) { return row.catalog == database.catalog(); }))
      deleted.push_back(database.path());
  }
  std::vector<std::string> all;
  if (!made.empty()) {
    all.push_back(fmt::format("{} made by the stand-in {} brought to the primary: {}",
                              made.size() == 1 ? "a database" : "databases",
                              made.size() == 1 ? "was" : "were", some_of(made, made.size(), most_named)));
  }
  if (!left.empty()) {
    all.push_back(fmt::format("made by the stand-in and not brought, but kept below {}: {}",
                              layout_.place_of(""), some_of(left, left.size(), most_named)));
  }
  if (!never_here.empty()) {
    all.push_back(fmt::format("without a copy at the takeover, and left as the primary has it: {}",
                              some_of(never_here, never_here.size(), most_named)));
  }
  if (!deleted.empty()) {
    all.push_back(fmt::format("deleted by the stand-in, and not on the primary: {}",
                              some_of(deleted, deleted.size(), most_named)));
  }
  return all;
}

absl::Status restoration::wait_in_step(milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  for (auto& lane : databases_)
    UNDERSTUDY_RETURN_IF_ERROR(lane->wait_for(database_progress::phase::streaming, deadline));
  for (auto& tree : trees_)
    UNDERSTUDY_RETURN_IF_ERROR(tree->wait_for(files_progress::verdict::so_far, deadline));
  return absl::OkStatus();
}

absl::Status restoration::drain(milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  for (auto& lane : databases_) lane->drain();
  for (auto& tree : trees_) tree->drain();
  for (auto& lane : databases_)
    UNDERSTUDY_RETURN_IF_ERROR(lane->wait_for(database_progress::phase::drained, deadline));
  for (auto& tree : trees_)
    UNDERSTUDY_RETURN_IF_ERROR(tree->wait_for(files_progress::verdict::final, deadline));
  drained_ = true;
  return absl::OkStatus();
}

absl::Status restoration::check_files() const {
  std::string all;
  for (const auto& tree : trees_) {
    const files_progress now = tree->progress();
    if (now.diverged > 0)
      all += fmt::format("{}{} below {}", all.empty() ? "" : "; ", some_of(now.diverged_paths, now.diverged),
                         tree->name());
  }
  if (all.empty()) return absl::OkStatus();
  return rpc::with_reason(
      absl::FailedPreconditionError(
          fmt::format("files were changed on both sides ({}): choose with --discard-primary (the stand-in's "
                      "win) or --keep-primary (the primary's win); the loser is set aside",
                      all)),
      "DIVERGED");
}

absl::StatusOr<std::vector<std::string>> restoration::adopt(const std::vector<store::freeze_row>& base,
                                                            v1::DivergedChoice choice,
                                                            const std::function<bool()>& given_up) {
  if (choice == v1::DIVERGED_CHOICE_UNSPECIFIED) UNDERSTUDY_RETURN_IF_ERROR(check_files());
  std::vector<std::string> set_aside;
  for (auto& lane : databases_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(v1::Adopted adopted, lane->adopt(base, choice, given_up));
    if (adopted.set_aside().empty()) continue;
    set_aside.push_back(adopted.set_aside());
    log::info(spec_.name(), "{}: the primary's own {} is kept at {}", lane->catalog(),
              adopted.diverged() ? "diverged data" : "former data", adopted.set_aside());
  }
  for (auto& tree : trees_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(v1::RestoreFilesResponse done, tree->adopt(choice, given_up));
    log::info(spec_.name(), "{}: {} files put in place on the primary, {} removed", tree->name(),
              done.adopted().replaced(), done.adopted().removed());
    if (done.set_aside().empty()) continue;
    const v1::FilesDivergence& diverged = done.adopted().divergence();
    set_aside.push_back(
        fmt::format("{} (files changed on both sides: {})", done.set_aside(),
                    some_of({diverged.paths().begin(), diverged.paths().end()}, diverged.count())));
  }
  return set_aside;
}

restoration_progress restoration::progress() const {
  restoration_progress all;
  std::lock_guard lock(lanes_);
  for (const auto& lane : databases_) lane->add_to(all);
  for (const auto& tree : trees_) tree->add_to(all);
  return all;
}

}  // namespace understudy::server
