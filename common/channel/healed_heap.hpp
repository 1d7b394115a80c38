#pragma once

#include <cstdint>

#include "common/channel/database_progress.hpp"
#include "common/os/heap.hpp"

namespace understudy::channel {

// Gives back what a heal's messages took of the heap, once the heal is durable. Not thread safe.
class healed_heap {
 public:
  // To be called where a runner is about to wait.
  void look(const database_progress& progress) {
    const bool settled =
        progress.now == database_progress::phase::streaming && progress.durable >= progress.source_number;
    if (progress.heals == heals_ || !settled) return;
    heals_ = progress.heals;
    os::give_back_heap_after(progress.total_bytes);
  }

 private:
  std::uint64_t heals_ = 0;  // that were looked at
};

}  // namespace understudy::channel
