#pragma once

// Entries on the wire.

#include <string>

#include "absl/status/statusor.h"
#include "common/files/entry.hpp"

namespace google::protobuf {
class Timestamp;
}

namespace understudy::v1 {
class FileEntry;
}

namespace understudy::files {

void to_message(const entry& e, v1::FileEntry& message);

// kInvalidArgument for whatever no honest peer sends: bad paths, unknown kinds, times out of range, attribute
// names outside "user.", too many or too long ones. `base_allowed`: the path "." is.
absl::StatusOr<entry> from_message(const v1::FileEntry& message, bool base_allowed);

void to_message(epoch_ns time, google::protobuf::Timestamp& message);
// 0 when out of range.
epoch_ns from_message(const google::protobuf::Timestamp& message);

}  // namespace understudy::files
