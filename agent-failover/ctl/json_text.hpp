#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

namespace understudy::ctl {

// Proto JSON with every primitive field, so that a key never vanishes. One document over several lines, or,
// for streams, one line. Ends with a newline. INTERNAL when the message holds what JSON cannot say.
absl::StatusOr<std::string> json_document(const google::protobuf::Message& message);
absl::StatusOr<std::string> json_line(const google::protobuf::Message& message);

}  // namespace understudy::ctl
