#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"

namespace understudy::service {

// One restore of a database, or of a file tree, at a time. The newest counts: an older one belongs to a host
// that was restarted, or to a line that broke, and may not have noticed yet. Threads: any; outlives every
// turn.
class restore_turns {
 public:
  // Asks whoever restores `what` now to end, by what it gave as `give_up`, and waits until it has; the
  // turn lasts until the result is destroyed. kAborted when a newer one came meanwhile; kCancelled when
  // `waits`, asked several times a second, says no. `give_up` is called from other threads, never after the
  // turn is over.
  absl::StatusOr<std::shared_ptr<void>> enter(const std::string& what, std::function<void()> give_up,
                                              const std::function<bool()>& waits);

 private:
  struct line {
    std::uint64_t newest = 0;       // of those who came
    std::uint64_t present = 0;      // whose turn it is; 0: nobody's
    std::function<void()> give_up;  // of the present one
  };
  void leave(const std::string& what, std::uint64_t mine);

  std::mutex mutex_;
  std::condition_variable left_;
  std::map<std::string, line> lines_;
};

}  // namespace understudy::service
