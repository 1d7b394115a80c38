#include "agent-failover/api/file_change_message.hpp"

#include "common/files/entry_message.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/rpc/utf8.hpp"

namespace understudy::api {
namespace {

v1::FileKind kind_of(files::entry_kind kind) {
  switch (kind) {
    case files::entry_kind::regular:
      return v1::FILE_KIND_REGULAR;
    case files::entry_kind::directory:
      return v1::FILE_KIND_DIRECTORY;
    case files::entry_kind::symlink:
      return v1::FILE_KIND_SYMLINK;
  }
  return v1::FILE_KIND_UNSPECIFIED;
}

}  // namespace

v1::FileChangeKind kind_of(files::applied_kind kind) {
  using enum files::applied_kind;
  switch (kind) {
    case put:
      return v1::FILE_CHANGE_KIND_PUT;
    case changed:
      return v1::FILE_CHANGE_KIND_CHANGE;
    case removed:
      return v1::FILE_CHANGE_KIND_REMOVE;
    case renamed:
      return v1::FILE_CHANGE_KIND_RENAME;
    case attributes:
      return v1::FILE_CHANGE_KIND_ATTRIBUTES;
    case linked:
      return v1::FILE_CHANGE_KIND_LINK;
    case unclear:
      return v1::FILE_CHANGE_KIND_UNCLEAR;
    case gap:
      return v1::FILE_CHANGE_KIND_GAP;
  }
  return v1::FILE_CHANGE_KIND_UNSPECIFIED;
}

v1::WatchFilesResponse message_of(const files::applied_change& change) {
  v1::WatchFilesResponse message;
  message.set_kind(kind_of(change.kind));
  if (change.base != nullptr) message.set_base(*change.base);
  message.set_reason(rpc::as_utf8(change.reason));
  *message.mutable_applied_at() = rpc::to_timestamp(change.applied_at);
  if (change.kind == files::applied_kind::gap) return message;
  message.set_path(change.path);
  message.set_path_text(rpc::as_utf8(change.path));
  message.set_from(change.from);
  message.set_from_text(rpc::as_utf8(change.from));
  if (change.seen_at != 0) files::to_message(change.seen_at, *message.mutable_seen_at());
  // What a refused change says of its entry need not be so.
  if (change.kind == files::applied_kind::unclear) return message;
  message.set_entry(kind_of(change.entry));
  message.set_size(change.size);
  message.set_target(change.target);
  files::to_message(change.modified_at, *message.mutable_modified_at());
  return message;
}

}  // namespace understudy::api
