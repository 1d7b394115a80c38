#include "agent-failover/ctl/operation_text.hpp"

#include <fmt/core.h>

namespace understudy::ctl {

std::string kind_text(v1::OperationKind kind) {
  switch (kind) {
    case v1::OPERATION_KIND_REPLICATE_FROM_LIVE:
      return "replicate from-live";
    case v1::OPERATION_KIND_REPLICATE_TO_LIVE:
      return "replicate to-live";
    case v1::OPERATION_KIND_UNSPECIFIED:
      return "operation";
    default:
      return enum_word(v1::OperationKind_descriptor(), kind);
  }
}

std::string progress_text(const v1::Operation& operation) {
  auto text = fmt::format("{} {}: {}", kind_text(operation.kind()), operation.server(),
                          operation.phase().empty() ? "waiting" : operation.phase());
  const auto percent = percent_text(operation.bytes_done(), operation.bytes_total(), operation.done());
  if (!percent.empty()) {
    text += fmt::format(", {}, {} of {}", percent, bytes_text(operation.bytes_done()),
                        bytes_text(operation.bytes_total()));
  } else if (operation.bytes_done() != 0) {
    text += ", " + bytes_text(operation.bytes_done());
  }
  if (operation.rate() != 0 && !operation.done()) text += fmt::format(", {}/s", bytes_text(operation.rate()));
  if (operation.has_eta() && !operation.done()) {
    text += fmt::format(", {} left", duration_text(to_milliseconds(operation.eta())));
  }
  return printable(text);
}

std::string result_text(const v1::Operation& operation) {
  auto text = operation.result();
  if (text.empty()) text = fmt::format("{} {}: done", kind_text(operation.kind()), operation.server());
  if (operation.has_started_at() && operation.has_ended_at()) {
    const auto took = to_time(operation.ended_at()) - to_time(operation.started_at());
    text += fmt::format(" ({})", duration_text(std::chrono::duration_cast<std::chrono::milliseconds>(took)));
  }
  return text;
}

}  // namespace understudy::ctl
