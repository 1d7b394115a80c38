#pragma once

#include "common/files/file_feed.hpp"
#include "understudy/v1/change_feed.pb.h"

namespace understudy::api {

v1::FileChangeKind kind_of(files::applied_kind kind);

// Everything but server and cursor.
v1::WatchFilesResponse message_of(const files::applied_change& change);

}  // namespace understudy::api
