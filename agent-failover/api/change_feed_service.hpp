#pragma once

// The ChangeFeed service. A call reads the history of the databases, or the feed of the files, that it
// follows, on its own thread and at the pace at which its reader takes what is sent.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent-failover/api/file_follower.hpp"
#include "agent-failover/history/database_history.hpp"

namespace grpc {
class Service;
}

namespace understudy::api {

struct followed_database {
  std::string catalog;
  std::shared_ptr<history::database_history> past;  // null: none is kept
};
// The databases of a server; kNotFound when there is no such server. From any thread.
using database_finder =
    std::function<absl::StatusOr<std::vector<followed_database>>(const std::string& server)>;

std::unique_ptr<grpc::Service> make_change_feed_service(database_finder find, file_finder find_files);

}  // namespace understudy::api
