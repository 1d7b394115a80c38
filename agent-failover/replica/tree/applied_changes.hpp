#pragma once

// What a batch did to a tree, as those who follow the tree are told.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent-failover/replica/tree/tree_batch.hpp"
#include "common/files/file_feed.hpp"

namespace understudy::files {

// `outcomes`: one for each change. `refusals`: of these changes, in their order. What made way for an entry
// is told before it, as removed.
std::vector<applied_change> applied_changes(const std::shared_ptr<const std::string>& base,
                                            std::span<const v1::FileChange> changes,
                                            std::span<const batch_outcome> outcomes,
                                            std::span<const v1::FileRefusal> refusals);

}  // namespace understudy::files
