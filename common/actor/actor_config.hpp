#pragma once

#include <caf/actor_system_config.hpp>

namespace understudy::actors {

// How both daemons run CAF: the `sharing` scheduler (work stealing wakes 789 times a second when idle,
// sharing once) on a few threads, for actors here decide and never compute for long. CAF reads no file and no
// argument.
class actor_config : public caf::actor_system_config {
 public:
  explicit actor_config(std::size_t threads = 2);
};

}  // namespace understudy::actors
