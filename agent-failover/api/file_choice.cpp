#include "agent-failover/api/file_choice.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "agent-failover/api/file_change_message.hpp"
#include "common/files/name_pattern.hpp"
#include "common/files/tree_path.hpp"
#include "common/rpc/rpc_status.hpp"

namespace understudy::api {
namespace {

constexpr int most_patterns = 100;            // each is compared with each change
constexpr std::size_t longest_pattern = 512;  // bytes; twice the longest name

// What happens to such an entry happens to all that is in it.
bool concerns_all_below(const files::applied_change& change) {
  using enum files::applied_kind;
  const bool moves = change.kind == removed || change.kind == renamed || change.kind == unclear;
  return moves && change.entry == files::entry_kind::directory;
}

}  // namespace

file_choice::file_choice(const v1::WatchFilesRequest& request) : request_(request) {
  for (const int kind : request.kinds()) kinds_.insert(static_cast<v1::FileChangeKind>(kind));
}

absl::Status file_choice::check() const {
  if (!request_.under().empty()) {
    if (const absl::Status sound = files::check_path(request_.under()); !sound.ok())
      return rpc::with_field(sound, "under", "a path relative to the base, or nothing");
  }
  if (request_.names_size() > most_patterns) {
    return rpc::with_field(
        absl::InvalidArgumentError(fmt::format("there are more than {} patterns", most_patterns)), "names",
        "fewer, or none and choose from what comes");
  }
  const bool long_one = std::any_of(request_.names().begin(), request_.names().end(),
                                    [](const std::string& p) { return p.size() > longest_pattern; });
  if (long_one) {
    return rpc::with_field(
        absl::InvalidArgumentError(fmt::format("a pattern is longer than {} bytes", longest_pattern)),
        "names", "patterns of the last component of a path");
  }
  return absl::OkStatus();
}

bool file_choice::includes(const files::applied_change& change) const {
  if (!request_.base().empty() && change.base != nullptr && *change.base != request_.base()) return false;
  if (change.kind == files::applied_kind::gap) return true;
  if (!kinds_.empty() && !kinds_.contains(kind_of(change.kind))) return false;
  return is_under(change) && has_name(change);
}

bool file_choice::is_under(const files::applied_change& change) const {
  const std::string& under = request_.under();
  if (under.empty()) return true;
  const bool whole = concerns_all_below(change);
  const auto lies_there = [&](const std::string& path) {
    return !path.empty() &&
           (path == under || files::is_below(path, under) || (whole && files::is_below(under, path)));
  };
  return lies_there(change.path) || lies_there(change.from);
}

bool file_choice::has_name(const files::applied_change& change) const {
  if (request_.names().empty() || concerns_all_below(change)) return true;
  return std::any_of(request_.names().begin(), request_.names().end(), [&](const std::string& pattern) {
    return files::matches(pattern, files::name_of(change.path), false) ||
           (!change.from.empty() && files::matches(pattern, files::name_of(change.from), false));
  });
}

}  // namespace understudy::api
