#pragma once

// The journal of what has arrived at a failback: for each path that differs from the present tree, what it is
// to become. Appended to, synced per batch; the newest record of a path counts, and a torn tail is cut off.
//
//   record   length (4 bytes, little-endian), XXH3-128 of the rest (16 bytes), a FileChange message:
//              put      the entry; `upload`: its content is the file of this number beside the log, or
//                       `content`: it is what the present tree has under this path
//              remove   nothing is to be there
//   The first record is an attributes change whose sequence is the epoch of the failback.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/files/entry.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

struct incoming_item {
  entry what;
  std::uint64_t number = 0;  // of the file beside the log with the content; 0: `present`, or none
  std::string present{};     // path in the present tree of the content
};
// Nothing: the path is to be free.
using incoming_items = std::map<std::string, std::optional<incoming_item>, std::less<>>;

class incoming_log {
 public:
  // Begins anew unless what is there is of this epoch; 0: of any epoch.
  static absl::StatusOr<std::unique_ptr<incoming_log>> open(os::directory& where, std::uint64_t epoch,
                                                            incoming_items& items);

  void add(std::string_view path, const std::optional<incoming_item>& item);
  // What was added is durable on return.
  absl::Status sync();
  std::uint64_t epoch() const { return epoch_; }

 private:
  incoming_log(std::unique_ptr<os::file> file, std::uint64_t epoch, std::uint64_t end)
      : file_(std::move(file)), epoch_(epoch), end_(end) {}
  void add_record(std::string_view message);

  std::unique_ptr<os::file> file_;
  std::uint64_t epoch_;
  std::uint64_t end_;
  std::string pending_;
};

}  // namespace understudy::files
