#include "agent-failover/ctl/json_text.hpp"

#include <fmt/core.h>

#include "google/protobuf/util/json_util.h"

namespace understudy::ctl {

namespace {

absl::StatusOr<std::string> json(const google::protobuf::Message& message, bool whitespace) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = whitespace;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) {
    return absl::InternalError(fmt::format("{} as JSON: {}", message.GetTypeName(), status.ToString()));
  }
  if (text.empty() || text.back() != '\n') text += '\n';
  return text;
}

}  // namespace

absl::StatusOr<std::string> json_document(const google::protobuf::Message& message) {
  return json(message, true);
}
absl::StatusOr<std::string> json_line(const google::protobuf::Message& message) {
  return json(message, false);
}

}  // namespace understudy::ctl
