#include "common/rpc/rpc_status.hpp"

#include <fmt/core.h>
#include <grpcpp/support/status.h>

#include <optional>

#include "absl/strings/cord.h"
#include "common/status/status_text.hpp"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace understudy::rpc {
namespace {

constexpr std::string_view url_prefix = "type.googleapis.com/";
constexpr std::size_t largest_message =
    4096;  // bytes; a status travels in HTTP/2 headers, which are bounded at 8 KiB

std::string url_of(const google::protobuf::Message& message) {
  return std::string(url_prefix) + message.GetDescriptor()->full_name();
}

template <class Detail>
Detail detail_of(const absl::Status& status) {
  Detail detail;
  if (const auto payload = status.GetPayload(url_of(detail))) {
    // A payload that does not parse came from a peer; it is treated as absent.
    if (!detail.ParseFromString(std::string(*payload))) detail.Clear();
  }
  return detail;
}

void put(absl::Status& status, const google::protobuf::Message& detail) {
  status.SetPayload(url_of(detail), absl::Cord(detail.SerializeAsString()));
}

// Messages travel as percent-encoded UTF-8; what is cut is cut between characters.
std::string bounded(std::string_view text) {
  if (text.size() <= largest_message) return std::string(text);
  std::size_t end = largest_message;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

}  // namespace

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(static_cast<int>(status.code()));
  const std::string message = bounded(message_of(status));
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(code));
  wire.set_message(message);
  status.ForEachPayload([&wire](auto url, const absl::Cord& payload) {
    google::protobuf::Any* detail = wire.add_details();
    detail->set_type_url(std::string(url.data(), url.size()));
    detail->set_value(std::string(payload));
  });
  if (wire.details_size() == 0) return {code, message};
  return {code, message, wire.SerializeAsString()};
}

absl::Status from_grpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  const bool known = code > 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  absl::Status result(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
                      status.error_message());
  google::rpc::Status wire;
  if (!status.error_details().empty() && wire.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : wire.details()) {
      result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  return result;
}

absl::Status with_reason(absl::Status status, std::string_view reason,
                         const std::map<std::string, std::string>& metadata) {
  if (status.ok()) return status;
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain("understudy");
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[key] = value;
  put(status, info);
  return status;
}

absl::Status with_help(absl::Status status, std::string_view command, std::string_view description) {
  if (status.ok()) return status;
  auto help = detail_of<google::rpc::Help>(status);
  google::rpc::Help::Link* link = help.add_links();
  link->set_url(std::string(command));
  link->set_description(std::string(description));
  put(status, help);
  return status;
}

absl::Status with_field(absl::Status status, std::string_view field, std::string_view description) {
  if (status.ok()) return status;
  auto request = detail_of<google::rpc::BadRequest>(status);
  auto* violation = request.add_field_violations();
  violation->set_field(std::string(field));
  violation->set_description(std::string(description));
  put(status, request);
  return status;
}

absl::Status with_precondition(absl::Status status, std::string_view kind, std::string_view subject,
                               std::string_view description) {
  if (status.ok()) return status;
  auto failure = detail_of<google::rpc::PreconditionFailure>(status);
  auto* violation = failure.add_violations();
  violation->set_type(std::string(kind));
  violation->set_subject(std::string(subject));
  violation->set_description(std::string(description));
  put(status, failure);
  return status;
}

std::string reason_of(const absl::Status& status) {
  return detail_of<google::rpc::ErrorInfo>(status).reason();
}

std::string help_of(const absl::Status& status) {
  const auto help = detail_of<google::rpc::Help>(status);
  return help.links_size() == 0 ? "" : help.links(0).url();
}

}  // namespace understudy::rpc
