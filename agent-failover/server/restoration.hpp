#pragma once

// The way back: the copies of one server, with what the stand-in wrote, into images and files beside the
// primary's own data, which are put in place only at the end.
//
// Threads: one at a time (the server's worker); progress(): any.

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/made_databases.hpp"
#include "agent-failover/store/state_store.hpp"
#include "understudy/v1/primary_agent.pb.h"
#include "understudy/v1/server.pb.h"

namespace grpc {
class Channel;
}
namespace understudy::capture {
class capture_engine;
}

namespace understudy::server {

struct restoration_progress {
  std::string phase;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
};

// Of a file at this place; an application that only opens a database leaves one without.
bool has_content(const std::string& place);

class restoration {
 public:
  restoration(capture::capture_engine& engine, const copy_layout& layout, const v1::ServerSpec& spec,
              std::function<void()> on_change);
  ~restoration();

  // Starts a stream per database, those included that the stand-in made, and file tree; none for what was
  // found and is not here, nor for what is `left_there` (catalogs). The agent refuses unless it is fenced and
  // its applications are down.
  absl::Status begin(const std::shared_ptr<grpc::Channel>& channel, std::uint64_t epoch,
                     const made_databases& made, const std::set<std::string>& left_there);
  // The same for databases that were made since; before a drain.
  void follow(const made_databases& made);
  // A made or found database that is gone, and a made one that cannot be read, holds up nothing any longer.
  void leave_unreadable();
  // Until every stream follows its source, that is: the heal is done while the stand-in goes on serving.
  absl::Status wait_in_step(std::chrono::milliseconds timeout);
  // The stand-in has stopped: everything it committed is durable on the primary when this returns.
  absl::Status drain(std::chrono::milliseconds timeout);
  bool drained() const { return drained_; }  // a drain succeeded since begin()
  // The reason DIVERGED (rpc_status.hpp) when files were changed on both sides, as far as is known yet.
  absl::Status check_files() const;
  // Puts every image and every file in place. `base`: the images at takeover, by which the agent tells
  // whether its own data went on without us. Returns the directories where data was set aside, with what is
  // in them. It takes what the primary's disk takes; kCancelled when `given_up` says so. The reason DIVERGED:
  // a choice is needed, nothing was touched.
  absl::StatusOr<std::vector<std::string>> adopt(const std::vector<store::freeze_row>& base,
                                                 v1::DivergedChoice choice,
                                                 const std::function<bool()>& given_up);

  restoration_progress progress() const;
  // What people should know of the databases: those that were brought because the stand-in made them, that
  // stay here, and that the stand-in deleted. Each a sentence.
  std::vector<std::string> remarks(const std::vector<store::freeze_row>& base) const;

 private:
  class way;       // of one database
  class tree_way;  // of one file tree
  void bring(const v1::DatabaseSpec& database, bool made);
  capture::capture_engine& engine_;
  const copy_layout layout_;
  const v1::ServerSpec spec_;
  const std::function<void()> on_change_;
  std::shared_ptr<grpc::Channel> channel_;
  std::uint64_t epoch_ = 0;
  bool drained_ = false;
  std::set<std::string> left_there_;
  std::vector<std::string> left_;        // made, and not brought
  std::vector<std::string> unreadable_;  // made, and not brought, for they cannot be read
  mutable std::mutex lanes_;             // what progress() goes through
  std::vector<std::unique_ptr<way>> databases_;
  std::vector<std::unique_ptr<tree_way>> trees_;
};

}  // namespace understudy::server
