#include "agent-failover/actors/restorer.hpp"

#include <fmt/core.h>
#include <boost/filesystem/operations.hpp>

#include <algorithm>
#include <utility>

#include "agent-failover/actors/operation_tracker.hpp"
#include "agent-failover/history/keeper.hpp"
#include "agent-failover/history/restore.hpp"
#include "agent-failover/history/time_text.hpp"
#include "agent-failover/server/histories.hpp"
#include "agent-failover/server/server_trash.hpp"
#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/os/spare_space.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::actors {
namespace {

constexpr std::size_t most_at_once = 4;  // restores: they share the disk with the copies

// Which state it is, so that an operator sees whether it is the one before the mistake.
std::string in_words(const history::moment& m) {
  std::string text = m.last.kind == history::change_kind::begin ? "as it was when its history begins, "
                     : m.last.kind == history::change_kind::heal
                         ? "as of the copy of "
                         : fmt::format("up to transaction {} of ", m.last.number);
  text += history::time_text(m.last.committed_at);
  if (m.last.time_estimated) text += " (at the latest)";
  text += m.has_next ? fmt::format("; the next change is of {}", history::time_text(m.next_at))
                     : "; there is no later change";
  return text;
}

absl::Status no_history(const std::string& server, const std::string& catalog, const std::string& why) {
  return rpc::with_help(rpc::with_reason(absl::FailedPreconditionError(why), "NO_HISTORY",
                                         {{"server", server}, {"database", catalog}}),
                        fmt::format("understudyctl restore {} --list", server), "what can be restored");
}

absl::Status check_space(const std::string& directory, std::uint64_t bytes) {
  boost::system::error_code error;
  const auto space = boost::filesystem::space(directory, error);
  const std::uint64_t spare = os::spare_space(space.capacity);
  if (error || space.available >= bytes + spare) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} has {} bytes free: {} are needed, and {} stay free for what else is on that disk",
                  directory, space.available, bytes, spare));
}

}  // namespace

restorer::restorer(os::file_system& fs, api::board& board, const server::histories& past,
                   std::function<std::string(const std::string&)> forbidden)
    : fs_(fs), board_(board), past_(past), forbidden_(std::move(forbidden)) {}

restorer::~restorer() {
  for (auto& one : jobs_) one->cancelled = true;
  for (auto& one : jobs_) one->thread.join();
}

absl::StatusOr<restorer::target> restorer::check_target(const std::string& path) const {
  const auto invalid = [](const std::string& what, const char* description) {
    return rpc::with_field(absl::InvalidArgumentError(what), "to", description);
  };
  const boost::filesystem::path given(path);
  if (path.empty() || path.front() != '/' || path.find('\0') != std::string::npos || path.back() == '/' ||
      given.filename() == "." || given.filename() == "..") {
    return invalid(fmt::format("\"{}\" is not the absolute path of a file", path),
                   "an absolute path on the failover host");
  }
  boost::system::error_code error;
  const auto parent = boost::filesystem::canonical(given.parent_path(), error);
  if (error) {
    return invalid(fmt::format("{}: {}", given.parent_path().string(), error.message()),
                   "its directory must exist on the failover host");
  }
  const std::string resolved = (parent / given.filename()).string();
  if (const std::string whose = forbidden_(resolved); !whose.empty()) {
    return invalid(fmt::format("{} lies in {}", path, whose), "choose a place outside of it");
  }
  if (boost::filesystem::symlink_status(resolved, error).type() != boost::filesystem::file_not_found) {
    return rpc::with_field(absl::AlreadyExistsError(fmt::format("{} exists, and is not overwritten", path)),
                           "to", "choose another name, or move the file away");
  }
  return target{.directory = parent.string(), .name = given.filename().string()};
}

void restorer::tidy() {
  for (auto one = jobs_.begin(); one != jobs_.end();) {
    if (!(*one)->ended) {
      ++one;
      continue;
    }
    (*one)->thread.join();
    one = jobs_.erase(one);
  }
}

api::command_result restorer::restore(const api::restore_request& request) {
  const auto refuse = [](absl::Status why) {
    return api::command_result{.status = std::move(why), .effect = {}, .operation = {}};
  };
  auto to = check_target(request.to);
  if (!to.ok()) return refuse(to.status());
  const auto keeper = past_.find(request.server);
  if (keeper == nullptr) {
    return refuse(
        no_history(request.server, request.catalog,
                   fmt::format("no history is kept of this server: history.off is set, here (`understudyctl "
                               "server set {} history.off=false`) or for all (`understudyctl settings set "
                               "history.off=false`)",
                               request.server)));
  }
  const auto kept = keeper->find(request.catalog);
  if (kept == nullptr)
    return refuse(absl::NotFoundError(fmt::format("there is no database \"{}\"", request.catalog)));
  auto moment = kept->moment_at(request.at);
  if (absl::IsOutOfRange(moment.status()) || absl::IsUnavailable(moment.status())) {
    return refuse(no_history(request.server, request.catalog,
                             fmt::format("{}: {}", request.catalog, message_of(moment.status()))));
  }
  if (!moment.ok()) return refuse(moment.status());
  auto view = kept->view_of(moment->state);
  if (!view.ok()) return refuse(view.status());
  const std::uint64_t bytes = std::uint64_t{(*view)->page_count()} * (*view)->page_size();
  const std::string which = in_words(*moment);
  api::command_result result;
  result.effect = fmt::format("{} is written to {} {} ({} bytes)", request.catalog, request.to, which, bytes);
  if (absl::Status room = check_space(to->directory, bytes); !room.ok()) return refuse(std::move(room));
  if (request.dry_run) return result;

  const std::lock_guard lock(mutex_);
  tidy();
  if (jobs_.size() >= most_at_once) {
    return refuse(absl::ResourceExhaustedError(
        fmt::format("{} restores run already; wait until one has ended", jobs_.size())));
  }
  auto tracker = std::make_shared<operation_tracker>(board_, request.server);
  auto one = std::make_unique<job>();
  one->operation = result.operation = tracker->begin(v1::OPERATION_KIND_RESTORE, request.actor);
  log::info(request.server, "{}, asked for by {}", result.effect, request.actor);
  one->thread = std::thread([this, tracker, work = one.get(), place = *std::move(to), bytes, which, request,
                             from = std::shared_ptr<history::view>(*std::move(view))] {
    const std::string phase = fmt::format("writing {}", request.catalog);
    tracker->progress(phase, 0, bytes);
    const auto write = [&]() -> absl::Status {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs_.open_root(place.directory));
      return history::write_database(*from, *directory, place.name, 0600, [&](std::uint64_t done) {
        tracker->progress(phase, done, bytes);
        return work->cancelled ? absl::CancelledError("cancelled") : absl::OkStatus();
      });
    };
    const absl::Status written = write();
    if (written.ok()) {
      tracker->succeed(fmt::format("{}: {} {}", request.to, request.catalog, which));
    } else {
      log::warning(request.server, "{} was not restored to {}: {}", request.catalog, request.to,
                   message_of(written));
      tracker->fail(static_cast<int>(written.code()), std::string(message_of(written)));
    }
    work->ended = true;
  });
  jobs_.push_back(std::move(one));
  return result;
}

absl::StatusOr<std::string> restorer::restore_file(const v1::ServerSpec& spec,
                                                   const server::copy_layout& layout,
                                                   const v1::RestoreDeletedFileRequest& request,
                                                   const std::string& actor,
                                                   const std::function<bool()>& go_on) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const target to, check_target(request.to()));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto found, server::find_deleted_file(fs_, layout, spec, request));
  UNDERSTUDY_RETURN_IF_ERROR(check_space(to.directory, found.what.size));
  std::string effect = fmt::format(
      "{} of {}, deleted {}, is written to {} ({} bytes)", files::printable(found.what.path), found.base,
      history::time_text(found.what.deleted_at), files::printable(request.to()), found.what.size);
  if (request.dry_run()) return effect;
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs_.open_root(to.directory));
  UNDERSTUDY_RETURN_IF_ERROR(found.trash.copy(found.what, *directory, to.name, go_on));
  log::info(spec.name(), "{}, asked for by {}", effect, actor);
  return effect;
}

bool restorer::cancel(const std::string& operation) {
  const std::lock_guard lock(mutex_);
  for (auto& one : jobs_) {
    if (one->operation != operation) continue;
    one->cancelled = true;
    return true;
  }
  return false;
}

}  // namespace understudy::actors
