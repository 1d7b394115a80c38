#pragma once

// One call of WatchFiles: what a server's feed of file changes has, from a cursor on, at the pace at which
// the reader takes it.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/files/file_feed.hpp"

namespace understudy::v1 {
class WatchFilesRequest;
class WatchFilesResponse;
}  // namespace understudy::v1

namespace understudy::api {

struct followed_files {
  std::shared_ptr<files::file_feed> feed;
  std::vector<std::string> bases;  // of the server's file trees
};
// Of a server; kNotFound when there is no such server. From any thread.
using file_finder = std::function<absl::StatusOr<followed_files>(const std::string& server)>;

struct file_reader {
  std::function<bool()> is_there;
  // `more`: another one follows at once. False: the reader is gone.
  std::function<bool(const v1::WatchFilesResponse& change, bool more)> write;
};

// Until the reader is gone, or the server is.
absl::Status follow_files(const v1::WatchFilesRequest& request, const file_finder& find,
                          const file_reader& reader);

}  // namespace understudy::api
