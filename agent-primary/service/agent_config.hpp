#pragma once

// agent.toml as values, checked. Reading it has no effect on anything.

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent-primary/application/application_definition.hpp"
#include "common/rpc/tls_files.hpp"

namespace understudy::service {

struct database_config {
  std::string catalog;  // names it on the wire and in file names
  std::string path;
  std::vector<std::string> configuration_tables;
  bool hold = false;  // keep its log between the connections of an application that opens it for each request
  bool found = false;  // by a path with wildcards
  friend bool operator==(const database_config&, const database_config&) = default;
};

struct inclusion_config {
  std::string subdirectory;  // "." is the base itself
  std::vector<std::string> types;
  bool recursive = false;
  bool ignore_case = false;
  friend bool operator==(const inclusion_config&, const inclusion_config&) = default;
};

struct files_config {
  std::string base;
  std::vector<inclusion_config> include;
  friend bool operator==(const files_config&, const files_config&) = default;
};

struct agent_config {
  std::string name;
  std::string listen = "0.0.0.0:7100";
  std::string state_dir = "/var/lib/understudy-agent";
  bool insecure = false;
  rpc::tls_files tls;
  std::vector<database_config> databases;
  std::vector<files_config> files;
  std::vector<application::application_definition> applications;
  std::string host_address;  // empty: learned at first contact
  std::chrono::milliseconds boot_wait{60'000};
  std::string systemctl = "/usr/bin/systemctl";
  std::string runtime_units = "/run/systemd/system";
  bool real_time = true;  // capture under SCHED_FIFO where permitted
};

// kInvalidArgument with one `file:line:column: reason` per line.
absl::StatusOr<agent_config> read_agent_config(const std::string& file);
absl::StatusOr<agent_config> parse_agent_config(std::string_view content, const std::string& file_name);

// What in `changed` a running agent cannot take over without a restart; empty: nothing.
std::string needs_restart(const agent_config& running, const agent_config& changed);

}  // namespace understudy::service
