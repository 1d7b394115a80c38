#pragma once

// Applies changes, in order, to a copy and makes them durable: new files are written and synced under staging
// names first, then everything is renamed into place, then the directories are synced. A power cut at any
// point leaves each file as it was or as it becomes. A change that cannot be applied is refused; the others
// go on.

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/replica/tree/copy_place.hpp"
#include "common/files/entry.hpp"

namespace understudy::v1 {
class FileAppend;
class FileChange;
class FileLink;
class FilePut;
class FileRefusal;
class FileRename;
}  // namespace understudy::v1

namespace understudy::files {

// What a change came to, for who tells of it.
struct batch_outcome {
  bool done = false;     // it was applied; false: refused, or there was nothing to do
  bool existed = false;  // of a put: something that is no directory, or the directory, was there before
  std::optional<struct ::stat>
      made_way;  // a directory, or what was in a directory's place, was taken away first
  // Of the entry afterwards; of a removed one, as it was.
  entry_kind kind = entry_kind::regular;
  std::uint64_t size = 0;
  epoch_ns modified_at = 0;
};

class tree_batch {
 public:
  explicit tree_batch(copy_place& place) : place_(place) {}

  // Ok: everything that was not refused is durable. Otherwise nothing is known, and the copy must be listed
  // anew.
  absl::Status apply(std::span<const v1::FileChange> changes, std::vector<v1::FileRefusal>& refusals);

  // After apply(): one for each change.
  const std::vector<batch_outcome>& outcomes() const { return outcomes_; }

 private:
  struct staged_change {
    absl::Status status;
    entry what;
    std::optional<staged_file> file;
  };

  void stage(const v1::FileChange& change, staged_change& staged);
  absl::Status sync_staged(std::vector<staged_change>& staged);
  absl::Status publish(const v1::FileChange& change, staged_change& staged);
  absl::Status put(const v1::FilePut& change, staged_change& staged);
  absl::Status put_directory(const entry& e);
  absl::Status remove(std::string_view path);
  absl::Status remove_contents(std::string_view directory);
  absl::Status rename(const v1::FileRename& change);
  absl::Status append(const v1::FileAppend& change);
  absl::Status link(const v1::FileLink& change);
  absl::Status set_attributes(const entry& e);
  absl::Status finish();
  void note(const entry& e);
  void note(const struct ::stat& status);

  // Renames what is in staging to its place.
  absl::Status move_in(const std::string& staged_name, std::string_view path);
  // Takes away what is at `path` when a rename could not replace it.
  absl::Status make_way(std::string_view path, bool for_directory);
  absl::Status take_away(std::string_view path);
  absl::Status check_free_of_databases(std::string_view path) const;
  // Remembers a directory whose entries change: its time is put back and it is synced at the end. "" is the
  // base.
  absl::Status touch(std::string_view directory);
  void moved(std::string_view from, std::string_view to);
  void forget_below(std::string_view path);

  copy_place& place_;
  std::vector<batch_outcome> outcomes_;
  batch_outcome outcome_;  // of the change that is being published
  std::map<std::string, epoch_ns, std::less<>> touched_;
  bool sync_all_ = false;
};

}  // namespace understudy::files
