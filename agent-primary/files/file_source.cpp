#include "agent-primary/files/file_source.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t most_left_out = 100;  // named

std::string canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path found = std::filesystem::weakly_canonical(path, error);
  return error ? path : found.string();
}

}  // namespace

absl::StatusOr<std::shared_ptr<file_source>> file_source::start(file_source_options options) {
  if (options.root.empty()) options.root = options.what.base;
  options.watcher.root = options.root;
  std::shared_ptr<file_source> source(new file_source(std::move(options)));
  UNDERSTUDY_RETURN_IF_ERROR(source->select(source->options_.what).status());
  return source;
}

bool file_source::is_watching() const {
  const std::lock_guard lock(mutex_);
  return watcher_ != nullptr && watcher_->is_complete();
}

// A database is the same database when a symlink leads to it or to the base.
selection file_source::with_all_databases(const selection& wanted) const {
  selection all = wanted;
  all.exclude_databases.insert(all.exclude_databases.end(), options_.what.exclude_databases.begin(),
                               options_.what.exclude_databases.end());
  const std::string base = canonical(all.base);
  for (std::size_t i = all.exclude_databases.size(); i-- > 0;) {
    const std::string database = canonical(all.exclude_databases[i]);
    if (database.starts_with(base + "/"))
      all.exclude_databases.push_back(all.base + database.substr(base.size()));
  }
  std::sort(all.exclude_databases.begin(), all.exclude_databases.end());
  all.exclude_databases.erase(std::unique(all.exclude_databases.begin(), all.exclude_databases.end()),
                              all.exclude_databases.end());
  return all;
}

absl::StatusOr<std::shared_ptr<const selection_matcher>> file_source::select(const selection& wanted) {
  if (wanted.base != options_.what.base) {
    return absl::PermissionDeniedError(fmt::format(
        "base directory \"{}\" is not the one configured here, \"{}\"", wanted.base, options_.what.base));
  }
  const selection all = with_all_databases(wanted);
  UNDERSTUDY_ASSIGN_OR_RETURN(selection_matcher matcher, selection_matcher::make(all));
  const std::string serialized = to_message(all).SerializeAsString();
  const std::lock_guard lock(mutex_);
  if (watcher_ != nullptr && serialized == selected_) return matcher_;
  selected_ = serialized;
  watcher_.reset();
  matcher_ = std::make_shared<const selection_matcher>(std::move(matcher));
  watcher_ = std::make_unique<tree_watcher>(options_.watcher, matcher_, dirty_);
  return matcher_;
}

std::vector<std::string> file_source::left_out() const {
  const std::lock_guard lock(mutex_);
  return {left_out_.begin(), left_out_.end()};
}

void file_source::leave_out(const std::string& path, mode_t mode) {
  const std::lock_guard lock(mutex_);
  if (left_out_.size() == most_left_out || !left_out_.insert(path).second) return;
  const char* what = S_ISSOCK(mode) ? "a socket" : S_ISFIFO(mode) ? "a pipe" : "a device";
  log::warning("files", "{}/{}: {}, which is not copied{}", options_.root, printable(path), what,
               left_out_.size() == most_left_out ? "; further ones are not named" : "");
}

file_source::memory file_source::take_memory() {
  const std::lock_guard lock(mutex_);
  return std::exchange(memory_, {});
}

void file_source::keep_memory(memory known) {
  const std::lock_guard lock(mutex_);
  memory_ = std::move(known);
}

}  // namespace understudy::files
