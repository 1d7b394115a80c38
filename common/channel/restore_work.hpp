#pragma once

// What the agent does at a failback before and after the stream: clones and copies, as long as the disk
// takes.

#include <cstdint>
#include <functional>
#include <string>

namespace understudy::channel {

struct restore_work {
  std::string what;  // for people
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;  // 0: not known
};

// Tells how far it is; any thread. False: nobody waits for it any more, so it is given up.
using work_listener = std::function<bool(const restore_work&)>;

}  // namespace understudy::channel
