#pragma once

// What the gRPC side of the agent reaches: values under a lock, and handles of the actors. It decides
// nothing.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent-primary/application/application_set.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/files/file_source.hpp"
#include "agent-primary/service/agent_actors.hpp"
#include "agent-primary/service/agent_config.hpp"
#include "agent-primary/service/restore_turns.hpp"

namespace understudy::service {

class lease_streams;

struct agent_parts {
  agent_config config;  // as started; databases are in `databases`, for they may be reloaded, or found later
  std::unique_ptr<capture::capture_engine> capture;
  std::vector<std::shared_ptr<files::file_source>> file_sources;  // in the order of config.files
  std::shared_ptr<application::application_set> applications;
  std::unique_ptr<lease_streams> streams;
  restore_turns restores;

  std::vector<database_config> databases() const {
    std::lock_guard lock(mutex_);
    return databases_;
  }
  // What is not protected though a path with wildcards matches it, and why.
  std::vector<std::string> database_problems() const {
    std::lock_guard lock(mutex_);
    return database_problems_;
  }
  void set_databases(std::vector<database_config> databases, std::vector<std::string> problems) {
    std::lock_guard lock(mutex_);
    databases_ = std::move(databases);
    database_problems_ = std::move(problems);
    ++databases_revision_;
  }
  std::uint64_t databases_revision() const {
    std::lock_guard lock(mutex_);
    return databases_revision_;
  }
  lease_snapshot right() const {
    std::lock_guard lock(mutex_);
    return right_;
  }
  void set_right(lease_snapshot right) {
    std::lock_guard lock(mutex_);
    right_ = std::move(right);
    right_known_ = true;
  }
  // Null before the actors are there, and after they were told to end.
  lease_keeper_actor lease_keeper() const {
    std::lock_guard lock(mutex_);
    return lease_keeper_;
  }
  application_keeper_actor application_keeper() const {
    std::lock_guard lock(mutex_);
    return application_keeper_;
  }
  void set_keepers(application_keeper_actor runner, lease_keeper_actor gate) {
    std::lock_guard lock(mutex_);
    application_keeper_ = std::move(runner);
    lease_keeper_ = std::move(gate);
  }
  // False also until the gate has taken in the record: nobody may be told an epoch that is only the default.
  bool serving() const {
    std::lock_guard lock(mutex_);
    return static_cast<bool>(lease_keeper_) && right_known_;
  }
  // First lines of the version commands, by application; filled in the background after the start.
  std::map<std::string, std::string> versions() const {
    std::lock_guard lock(mutex_);
    return versions_;
  }
  void set_version(const std::string& application, std::string version) {
    std::lock_guard lock(mutex_);
    versions_[application] = std::move(version);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<database_config> databases_;
  std::vector<std::string> database_problems_;
  std::uint64_t databases_revision_ = 0;
  lease_snapshot right_;
  bool right_known_ = false;
  std::map<std::string, std::string> versions_;
  lease_keeper_actor lease_keeper_;
  application_keeper_actor application_keeper_;
};

}  // namespace understudy::service
