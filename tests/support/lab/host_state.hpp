#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/os/unique_fd.hpp"
#include "tests/support/lab/host_namespaces.hpp"
#include "tests/support/lab/lab.hpp"

namespace understudy::test {

struct host::state {
  host_options options;
  std::size_t number = 0;
  std::string namespace_name;
  std::string switch_namespace;
  int switch_network = -1;            // descriptor, the lab's
  std::vector<std::string> gateways;  // addresses without prefix
  std::filesystem::path root;
  std::filesystem::path scratch;
  std::filesystem::path logs;

  std::string boot_id;
  std::string mac;
  std::string port;  // the switch's end of the cable
  std::unique_ptr<host_namespaces> running;
  std::vector<std::string> unheard;  // MACs whose frames are dropped
  os::unique_fd filter;

  std::mutex launched_mutex;
  std::vector<std::weak_ptr<process::state>> launched;
  std::size_t launches = 0;

  void build();
  void tear_down();
  short port_flags() const;
  void set_port(bool up) const;
  void wait_for_carrier() const;
  void apply_filter();
};

}  // namespace understudy::test
