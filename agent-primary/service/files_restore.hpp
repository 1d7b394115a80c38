#pragma once

// Where a failback of files collects them on the primary.

#include <cstdint>

#include "agent-failover/replica/tree/copy_place.hpp"

namespace understudy::service {

// Staging and trash must lie on the tree's own filesystem: beside it. `index`: among the file trees.
files::tree_sink_options restore_options(const files::selection& what, std::uint32_t index);

}  // namespace understudy::service
