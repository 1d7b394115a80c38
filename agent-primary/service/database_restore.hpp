#pragma once

// Failback's end on the primary: one database arrives beside the present one, and is put in its place.
//
//   PATH                          the present database; untouched until it is adopted
//   PATH.understudy-incoming      begins as a clone of it, so that only what differs travels
//   STATE/set-aside/TIME/CATALOG/ the present database, if it held commits of its own
//   STATE/restore/CATALOG         the record of the adoption (adoption_record.hpp)
//
// Every step can be repeated; the present database is whole at every instant, for it is replaced by one
// rename.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/channel/database_service.hpp"

namespace understudy::service {

struct restore_place {
  std::string catalog;
  std::string path;         // absolute
  std::string state_dir;    // of the agent
  std::uint64_t epoch = 0;  // the right under which it is restored
  // Whether it may still be done: the agent is fenced under this epoch and its applications are down.
  std::function<absl::Status()> permitted;
  // Hears of clones and copies; may be empty.
  channel::work_listener tell = {};
  // Held until the restore is over: the place in restore_turns.
  std::shared_ptr<void> turn = {};
};

absl::StatusOr<std::unique_ptr<channel::database_restore>> begin_restore(restore_place place);

}  // namespace understudy::service
