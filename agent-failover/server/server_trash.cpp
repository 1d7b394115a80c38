#include "agent-failover/server/server_trash.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "common/files/tree_path.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::server {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::uint32_t most_listed = 10'000;
constexpr std::size_t most_bytes = 3 << 20;  // of an answer: gRPC's clients take 4 MiB

absl::StatusOr<files::deleted_files> trash_of(os::file_system& fs, const copy_layout& layout,
                                              const v1::ServerSpec& spec, int index) {
  return files::deleted_files::open(fs, layout.place_of(spec.files(index).base()), layout.directory(),
                                    fmt::format("files-{}", index));
}

absl::Status check_base(const v1::ServerSpec& spec, const std::string& base) {
  if (base.empty()) return absl::OkStatus();
  for (const auto& tree : spec.files()) {
    if (tree.base() == base) return absl::OkStatus();
  }
  return absl::NotFoundError(fmt::format("{} has no file tree with this base: {}", spec.name(), base));
}

v1::DeletedFile message_of(const std::string& base, files::deleted_file&& file) {
  v1::DeletedFile message;
  message.set_path(std::move(file.path));
  message.set_base(base);
  message.set_size(file.size);
  *message.mutable_deleted_at() = rpc::to_timestamp(file.deleted_at);
  message.set_version(std::move(file.version));
  *message.mutable_modified_at() = TimeUtil::NanosecondsToTimestamp(file.modified_at);
  message.set_symlink(file.symlink);
  return message;
}

}  // namespace

absl::StatusOr<v1::ListDeletedFilesResponse> list_deleted_files(os::file_system& fs,
                                                                const copy_layout& layout,
                                                                const v1::ServerSpec& spec,
                                                                const v1::ListDeletedFilesRequest& request) {
  UNDERSTUDY_RETURN_IF_ERROR(check_base(spec, request.base()));
  const int limit =
      static_cast<int>(request.limit() == 0 ? most_listed : std::min(request.limit(), most_listed));
  v1::ListDeletedFilesResponse all;
  std::size_t bytes = 0;
  for (int i = 0; i < spec.files_size() && !all.more(); ++i) {
    const std::string& base = spec.files(i).base();
    if (!request.base().empty() && request.base() != base) continue;
    UNDERSTUDY_ASSIGN_OR_RETURN(files::deleted_files trash, trash_of(fs, layout, spec, i));
    const absl::Status listed = trash.list(request.under(), [&](files::deleted_file&& file) {
      v1::DeletedFile message = message_of(base, std::move(file));
      bytes += message.ByteSizeLong() + 8;  // and what frames it
      all.set_more(all.files_size() == limit || bytes > most_bytes);
      if (!all.more()) *all.add_files() = std::move(message);
      return !all.more();
    });
    if (absl::IsInvalidArgument(listed))
      return rpc::with_field(listed, "under", "a path relative to the base, or nothing");
    if (!listed.ok()) return listed;
  }
  return all;
}

absl::StatusOr<found_deleted_file> find_deleted_file(os::file_system& fs, const copy_layout& layout,
                                                     const v1::ServerSpec& spec,
                                                     const v1::RestoreDeletedFileRequest& request) {
  UNDERSTUDY_RETURN_IF_ERROR(check_base(spec, request.base()));
  if (const absl::Status sound = files::check_path(request.path()); !sound.ok())
    return rpc::with_field(sound, "path", "as listed, relative to the base");
  files::deleted_version which{.at = std::nullopt, .name = request.version()};
  if (request.has_at()) {
    which.at = rpc::time_point_of(request.at());
    if (!which.at) return rpc::with_field(absl::InvalidArgumentError("that is no time"), "at", "a time");
  }
  std::vector<found_deleted_file> found;
  absl::Status why = absl::NotFoundError(
      fmt::format("no such file is among the deleted ones: {}", files::printable(request.path())));
  for (int i = 0; i < spec.files_size(); ++i) {
    const std::string& base = spec.files(i).base();
    if (!request.base().empty() && request.base() != base) continue;
    UNDERSTUDY_ASSIGN_OR_RETURN(files::deleted_files trash, trash_of(fs, layout, spec, i));
    auto what = trash.find(request.path(), which);
    if (what.ok()) {
      found.push_back({.base = base, .trash = std::move(trash), .what = *std::move(what)});
    } else if (!absl::IsNotFound(what.status())) {
      why = what.status();
    }
  }
  if (found.size() == 1) return std::move(found.front());
  if (found.empty()) {
    return rpc::with_help(why, fmt::format("understudyctl files {} --deleted", spec.name()), "what is there");
  }
  std::string bases;
  for (const auto& one : found) bases += (bases.empty() ? "" : ", ") + one.base;
  return rpc::with_field(absl::InvalidArgumentError(fmt::format("{} was deleted in several file trees: {}",
                                                                files::printable(request.path()), bases)),
                         "base", "say which one");
}

}  // namespace understudy::server
