#include "agent-failover/replica/tree/incoming_log.hpp"

#include <utility>

#include "common/files/digest.hpp"
#include "common/files/entry_message.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::string_view log_name = "log";
constexpr std::size_t header_bytes = 20;
constexpr std::size_t largest_record = 32 << 20;  // bytes; 256 attributes of 64 KiB and some

// Nothing: the tail is torn, or the log has ended.
std::optional<v1::FileChange> next_record(os::file& file, std::uint64_t& at) {
  std::string header(header_bytes, '\0');
  const auto read = [&](std::string& bytes, std::uint64_t from) {
    const auto length = file.read_at(std::as_writable_bytes(std::span(bytes.data(), bytes.size())), from);
    return length.ok() && *length == bytes.size();
  };
  if (!read(header, at)) return std::nullopt;
  std::size_t length = 0;
  for (int i = 3; i >= 0; --i)
    length = length << 8 | static_cast<unsigned char>(header[static_cast<std::size_t>(i)]);
  if (length == 0 || length > largest_record) return std::nullopt;
  std::string body(length, '\0');
  if (!read(body, at + header_bytes) || to_bytes(digest_of(body)) != header.substr(4)) return std::nullopt;
  v1::FileChange change;
  if (!change.ParseFromString(body)) return std::nullopt;
  at += header_bytes + length;
  return change;
}

}  // namespace

absl::StatusOr<std::unique_ptr<incoming_log>> incoming_log::open(os::directory& where, std::uint64_t epoch,
                                                                 incoming_items& items) {
  items.clear();
  UNDERSTUDY_ASSIGN_OR_RETURN(auto file, where.open(log_name, os::open_mode::create, 0600));
  std::uint64_t end = 0;
  const std::optional<v1::FileChange> first = next_record(*file, end);
  if (first && first->has_attributes() && (epoch == 0 || first->sequence() == epoch)) {
    while (const std::optional<v1::FileChange> record = next_record(*file, end)) {
      if (record->has_remove()) {
        items.insert_or_assign(record->remove().path(), std::nullopt);
        continue;
      }
      UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(record->put().entry(), true));
      std::string path = e.path;
      items.insert_or_assign(std::move(path), incoming_item{.what = std::move(e),
                                                            .number = record->put().upload(),
                                                            .present = record->put().content()});
    }
    UNDERSTUDY_RETURN_IF_ERROR(file->truncate(end));
    return std::unique_ptr<incoming_log>(new incoming_log(std::move(file), first->sequence(), end));
  }
  UNDERSTUDY_RETURN_IF_ERROR(file->truncate(0));
  std::unique_ptr<incoming_log> begun(new incoming_log(std::move(file), epoch, 0));
  v1::FileChange header;
  header.set_sequence(epoch);
  header.mutable_attributes();
  begun->add_record(header.SerializeAsString());
  UNDERSTUDY_RETURN_IF_ERROR(begun->sync());
  UNDERSTUDY_RETURN_IF_ERROR(where.sync());
  return begun;
}

void incoming_log::add_record(std::string_view message) {
  for (int shift = 0; shift < 32; shift += 8) {
    pending_.push_back(static_cast<char>(message.size() >> shift & 0xff));
  }
  pending_ += to_bytes(digest_of(message));
  pending_ += message;
}

void incoming_log::add(std::string_view path, const std::optional<incoming_item>& item) {
  v1::FileChange record;
  if (item) {
    v1::FilePut& put = *record.mutable_put();
    to_message(item->what, *put.mutable_entry());
    put.set_upload(item->number);
    put.set_content(item->present);
  } else {
    record.mutable_remove()->set_path(std::string(path));
  }
  add_record(record.SerializeAsString());
}

absl::Status incoming_log::sync() {
  if (pending_.empty()) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(
      file_->write_at(std::as_bytes(std::span(pending_.data(), pending_.size())), end_));
  end_ += pending_.size();
  pending_.clear();
  return file_->sync_data();
}

}  // namespace understudy::files
