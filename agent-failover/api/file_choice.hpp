#pragma once

// Which file changes a reader asked for.

#include <set>

#include "absl/status/status.h"
#include "common/files/file_feed.hpp"
#include "understudy/v1/change_feed.pb.h"

namespace understudy::api {

class file_choice {
 public:
  // `request` outlives it.
  explicit file_choice(const v1::WatchFilesRequest& request);

  // kInvalidArgument with the field and what is wrong with it.
  absl::Status check() const;
  bool includes(const files::applied_change& change) const;

 private:
  bool is_under(const files::applied_change& change) const;
  bool has_name(const files::applied_change& change) const;

  const v1::WatchFilesRequest& request_;
  std::set<v1::FileChangeKind> kinds_;
};

}  // namespace understudy::api
