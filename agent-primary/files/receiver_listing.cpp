#include "agent-primary/files/receiver_listing.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "common/files/entry_message.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t block_bytes = 1 << 20;

struct head {
  std::uint32_t path_bytes = 0;
  std::uint32_t rest_bytes = 0;
  entry_kind kind = entry_kind::regular;
};

head head_of(const char* record) {
  head h;
  std::memcpy(&h, record, sizeof h);
  return h;
}

std::string_view path_of(const char* record) {
  return {record + sizeof(head), head_of(record).path_bytes};
}

}  // namespace

absl::Status receiver_listing::add(v1::FileEntry& message) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const entry e, from_message(message, true));
  has_files_ = has_files_ || e.kind != entry_kind::directory;
  message.clear_path();
  const std::string rest = message.SerializeAsString();
  const head h{.path_bytes = static_cast<std::uint32_t>(e.path.size()),
               .rest_bytes = static_cast<std::uint32_t>(rest.size()),
               .kind = e.kind};
  const std::size_t needed = sizeof h + e.path.size() + rest.size();
  if (blocks_.empty() || blocks_.back().capacity() - blocks_.back().size() < needed) {
    blocks_.emplace_back().reserve(std::max(block_bytes, needed));
  }
  std::string& block = blocks_.back();
  records_.push_back(block.data() + block.size());
  block.append(reinterpret_cast<const char*>(&h), sizeof h);
  block += e.path;
  block += rest;
  return absl::OkStatus();
}

void receiver_listing::finish() {
  std::stable_sort(records_.begin(), records_.end(),
                   [](const char* a, const char* b) { return path_of(a) < path_of(b); });
}

std::optional<entry> receiver_listing::find(std::string_view path) const {
  const auto at =
      std::lower_bound(records_.begin(), records_.end(), path,
                       [](const char* record, std::string_view p) { return path_of(record) < p; });
  if (at == records_.end() || path_of(*at) != path) return std::nullopt;
  const head h = head_of(*at);
  v1::FileEntry message;
  if (!message.ParseFromArray(*at + sizeof h + h.path_bytes, static_cast<int>(h.rest_bytes)))
    return std::nullopt;
  message.set_path(std::string(path));
  auto found = from_message(message, true);
  return found.ok() ? std::optional(*std::move(found)) : std::nullopt;
}

void receiver_listing::each(const std::function<void(std::string_view, entry_kind)>& visit) const {
  for (const char* record : records_) visit(path_of(record), head_of(record).kind);
}

}  // namespace understudy::files
