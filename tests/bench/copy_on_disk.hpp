#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "agent-failover/replica/database_copy.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/timed_sink.hpp"

namespace understudy::bench {

// The failover host's copy "bench.db" in the directory `place`, which is made if need be.
inline std::shared_ptr<timed_sink> open_copy(const std::string& place) {
  std::filesystem::create_directories(place);
  auto opened = os::posix_file_system().open_root(place);
  if (!opened.ok()) give_up(std::string(message_of(opened.status())));
  auto copy = replica::database_copy::open(*std::move(opened), "bench.db");
  if (!copy.ok()) give_up(std::string(message_of(copy.status())));
  return std::make_shared<timed_sink>(*std::move(copy));
}

}  // namespace understudy::bench
