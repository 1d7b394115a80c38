#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>

#include "tests/support/lab/lab.hpp"

namespace understudy::test {

// A launched program until it was reaped. Any thread.
struct process::state {
  state(pid_t number, std::filesystem::path log_file) : pid(number), log(std::move(log_file)) {}
  ~state();

  bool finished();  // reaps it if it has ended
  int wait();
  void kill_group(int number);

  const pid_t pid;
  const std::filesystem::path log;
  std::mutex mutex;
  std::optional<int> exit;
};

}  // namespace understudy::test
