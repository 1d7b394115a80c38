#include "agent-failover/ctl/history_text.hpp"

#include <fmt/core.h>

#include "google/protobuf/util/message_differencer.h"

namespace understudy::ctl {

namespace {

constexpr std::size_t LONGEST_VALUE = 60;  // bytes of one value in a line; -o json has all of it

tint tint_of_severity(v1::EventSeverity severity) {
  switch (severity) {
    case v1::EVENT_SEVERITY_ERROR:
      return tint::bad;
    case v1::EVENT_SEVERITY_WARNING:
      return tint::doubt;
    default:
      return tint::plain;
  }
}

std::string severity_word(v1::EventSeverity severity, const view& how) {
  return tinted(enum_text(v1::EventSeverity_descriptor(), severity), tint_of_severity(severity), how.colored);
}

const v1::RowValue* find_column(const google::protobuf::RepeatedPtrField<v1::RowValue>& row,
                                const std::string& column) {
  for (const auto& value : row) {
    if (value.column() == column) return &value;
  }
  return nullptr;
}

std::string columns_text(const v1::WatchRowsResponse& change) {
  const bool deleted = change.kind() == v1::ROW_CHANGE_KIND_DELETE;
  std::string text;
  for (const auto& value : deleted ? change.before() : change.after()) {
    const auto* old = deleted ? nullptr : find_column(change.before(), value.column());
    if (old != nullptr && google::protobuf::util::MessageDifferencer::Equals(*old, value)) continue;
    text += fmt::format(" {}={}", value.column(), value_text(value));
    if (old != nullptr) text += fmt::format(" (was {})", value_text(*old));
  }
  return text;
}

}  // namespace

std::string event_line(const v1::Event& event, const view& how) {
  auto line = fmt::format("{} {}", event.server().empty() ? "host" : event.server(), event.kind());
  if (!event.text().empty()) line += ": " + event.text();
  if (!event.actor().empty()) line += fmt::format(" (by {})", event.actor());
  return fmt::format("{} {} {}\n", time_text(event.at()), severity_word(event.severity(), how),
                     printable(line));
}

std::string log_line(const v1::LogLine& line, const view& how) {
  const auto text = line.server().empty() ? line.text() : line.server() + ": " + line.text();
  return fmt::format("{} {} {}\n", time_text(line.at()), severity_word(line.severity(), how),
                     printable(text));
}

std::string value_text(const v1::RowValue& value) {
  switch (value.value_case()) {
    case v1::RowValue::kInteger:
      return fmt::format("{}", value.integer());
    case v1::RowValue::kReal:
      return fmt::format("{}", value.real());
    case v1::RowValue::kText: {
      if (value.text().size() <= LONGEST_VALUE) return "'" + value.text() + "'";
      std::size_t end = LONGEST_VALUE;
      while (end > 0 && (static_cast<unsigned char>(value.text()[end]) & 0xC0) == 0x80) --end;
      return "'" + value.text().substr(0, end) + "…'";
    }
    case v1::RowValue::kBlob:
      return fmt::format("blob of {}", bytes_text(value.blob().size()));
    case v1::RowValue::kRawText:
      return fmt::format("text of {} that is no UTF-8", bytes_text(value.raw_text().size()));
    case v1::RowValue::kOmitted:
      return fmt::format("{} of {}, not sent", value.omitted().text() ? "text" : "blob",
                         bytes_text(value.omitted().bytes()));
    case v1::RowValue::VALUE_NOT_SET:
      return "NULL";
  }
  return "?";
}

std::string row_change_line(const v1::WatchRowsResponse& change) {
  if (change.kind() == v1::ROW_CHANGE_KIND_CURSOR) return {};
  auto line = fmt::format("{} {}.{} {}", time_text(change.committed_at()), change.catalog(), change.table(),
                          enum_text(v1::RowChangeKind_descriptor(), change.kind()));
  if (change.has_schema()) {
    const auto& schema = change.schema();
    line += " " + schema.object();
    if (!schema.old_name().empty()) line += " was " + schema.old_name();
    if (!schema.sql_after().empty()) line += ": " + schema.sql_after();
  }
  if (!change.reason().empty()) line += ": " + change.reason();
  if (change.has_rowid() || change.rowid() != 0) line += fmt::format(" rowid={}", change.rowid());
  return printable(line + columns_text(change)) + "\n";
}

std::string file_change_line(const v1::WatchFilesResponse& change) {
  if (change.kind() == v1::FILE_CHANGE_KIND_CURSOR) return {};
  auto line = fmt::format("{} {} {}", time_text(change.applied_at()),
                          change.base().empty() ? change.server() : change.base(),
                          enum_text(v1::FileChangeKind_descriptor(), change.kind()));
  if (change.kind() == v1::FILE_CHANGE_KIND_GAP) {
    line += change.missing() != 0 ? fmt::format(": {} changes are missing", change.missing())
                                  : std::string(": changes are missing");
    return printable(fmt::format("{} ({}); read the copy anew", line, change.reason())) + "\n";
  }
  line += " ";
  if (!change.from().empty()) line += change.from_text() + " -> ";
  line += change.path_text();
  if (change.entry() == v1::FILE_KIND_DIRECTORY) line += "/";
  if (!change.target().empty()) line += " -> " + change.target();
  const bool has_size =
      change.kind() == v1::FILE_CHANGE_KIND_PUT || change.kind() == v1::FILE_CHANGE_KIND_CHANGE;
  if (has_size && change.entry() == v1::FILE_KIND_REGULAR) line += " " + bytes_text(change.size());
  if (!change.reason().empty()) line += ": " + change.reason();
  return printable(line) + "\n";
}

}  // namespace understudy::ctl
