#include "agent-failover/ctl/error_text.hpp"

#include <fmt/core.h>

#include <optional>

#include "absl/strings/cord.h"
#include "agent-failover/ctl/human_text.hpp"
#include "agent-failover/ctl/text_table.hpp"
#include "common/status/status_text.hpp"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace understudy::ctl {

namespace {

std::optional<google::rpc::Status> details_of(const absl::Status& status) {
  const auto payload = status.GetPayload(DETAILS_KEY);
  google::rpc::Status details;
  if (!payload || !details.ParseFromString(std::string{*payload})) return std::nullopt;
  return details;
}

// protobuf's Any::UnpackTo as an optional.
template <class Message>
std::optional<Message> unpacked(const google::protobuf::Any& any) {
  Message message;
  if (!any.UnpackTo(&message)) return std::nullopt;
  return message;
}

void add_hints(const google::protobuf::Any& detail, std::vector<std::string>* hints) {
  if (const auto bad = unpacked<google::rpc::BadRequest>(detail)) {
    for (const auto& field : bad->field_violations()) {
      hints->push_back(fmt::format("{}: {}", field.field(), field.description()));
    }
  } else if (const auto precondition = unpacked<google::rpc::PreconditionFailure>(detail)) {
    for (const auto& violation : precondition->violations()) {
      hints->push_back(fmt::format("{}: {}", violation.subject(), violation.description()));
    }
  } else if (const auto help = unpacked<google::rpc::Help>(detail)) {
    for (const auto& link : help->links()) {
      if (link.url().empty() || link.description().empty()) {
        hints->push_back(link.url() + link.description());
      } else {
        hints->push_back(fmt::format("{}: {}", link.description(), link.url()));
      }
    }
  } else if (const auto info = unpacked<google::rpc::ErrorInfo>(detail)) {
    auto line = fmt::format("reason: {}", info->reason());
    // A protobuf map has no order of its own.
    const std::map<std::string, std::string> sorted{info->metadata().begin(), info->metadata().end()};
    for (const auto& [key, value] : sorted) line += fmt::format(" {}={}", key, value);
    hints->push_back(line);
  }
}

}  // namespace

absl::Status with_hint(absl::Status status, std::string_view hint) {
  if (status.ok()) return status;
  auto details = details_of(status).value_or(google::rpc::Status{});
  google::rpc::Help help;
  help.add_links()->set_description(std::string{hint});
  details.add_details()->PackFrom(help);
  status.SetPayload(DETAILS_KEY, absl::Cord{details.SerializeAsString()});
  return status;
}

absl::Status status_of(const google::rpc::Status& error) {
  if (error.code() == 0) return absl::OkStatus();
  absl::Status status{static_cast<absl::StatusCode>(error.code()), error.message()};
  if (error.details_size() != 0) status.SetPayload(DETAILS_KEY, absl::Cord{error.SerializeAsString()});
  return status;
}

std::vector<std::string> hints_of(const absl::Status& status) {
  std::vector<std::string> hints;
  if (const auto details = details_of(status)) {
    for (const auto& detail : details->details()) add_hints(detail, &hints);
  }
  return hints;
}

bool has_help(const absl::Status& status) {
  const auto details = details_of(status);
  if (!details) return false;
  for (const auto& detail : details->details()) {
    if (detail.Is<google::rpc::Help>()) return true;
  }
  return false;
}

std::string error_text(const absl::Status& status, bool colored) {
  const std::string message{message_of(status)};
  auto text = tinted("understudyctl:", tint::bad, colored) + " " + printable(message) + "\n";
  for (const auto& hint : hints_of(status)) {
    if (hint != message) text += "  " + printable(hint) + "\n";  // one wrong field is the whole message
  }
  return text;
}

}  // namespace understudy::ctl
