#include "agent-failover/replica/tree/tree_change.hpp"

#include <fmt/core.h>

#include <utility>

#include "agent-failover/replica/tree/tree_sink.hpp"
#include "common/files/content_coding.hpp"
#include "common/files/tree_path.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::uint64_t largest_packed = 1 << 20;  // bytes unpacked, in a put; larger files travel in pieces

}  // namespace

std::string path_of(const v1::FileChange& change) {
  switch (change.change_case()) {
    case v1::FileChange::kPut:
      return change.put().entry().path();
    case v1::FileChange::kRemove:
      return change.remove().path();
    case v1::FileChange::kRename:
      return change.rename().to();
    case v1::FileChange::kAttributes:
      return change.attributes().path();
    case v1::FileChange::kAppend:
      return change.append().entry().path();
    case v1::FileChange::kLink:
      return change.link().path();
    case v1::FileChange::CHANGE_NOT_SET:
      break;
  }
  return {};
}

absl::Status refuse(std::string_view path, std::string_view reason) {
  return absl::FailedPreconditionError(fmt::format("{}: {}", printable(path), reason));
}

void add_refusal(const v1::FileChange& change, const absl::Status& status,
                 std::vector<v1::FileRefusal>& refusals) {
  v1::FileRefusal& refusal = refusals.emplace_back();
  refusal.set_sequence(change.sequence());
  refusal.set_path(path_of(change));
  refusal.set_reason(std::string(message_of(status)));
  refusal.set_retry(absl::IsResourceExhausted(status) || absl::IsUnavailable(status) ||
                    absl::IsDataLoss(status));
}

absl::StatusOr<staged_file> stage_content(copy_place& place, const v1::FilePut& put, const entry& e) {
  if (put.upload() != 0) return place.staging->finish(put.upload(), e.size, e.content);
  if (put.zstd()) {
    if (e.size > largest_packed) return absl::InvalidArgumentError("a packed content is too large");
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string content, unpack(put.content(), e.size));
    if (e.content && digest_of(content) != *e.content) {
      return absl::DataLossError(
          fmt::format("{}: its content does not have the digest announced", printable(e.path)));
    }
    return place.staging->write(content);
  }
  if (put.content().size() != e.size) {
    return absl::InvalidArgumentError(
        fmt::format("{}: its content is not as long as announced", printable(e.path)));
  }
  if (e.content && digest_of(put.content()) != *e.content) {
    return absl::DataLossError(
        fmt::format("{}: its content does not have the digest announced", printable(e.path)));
  }
  return place.staging->write(put.content());
}

std::optional<digest> tree_sink::digest_of(std::string_view path) {
  const auto file = open_present(path);
  if (!file.ok()) return std::nullopt;
  const auto content = digest_of_file(**file);
  return content.ok() ? std::optional(*content) : std::nullopt;
}

absl::StatusOr<std::string> block_hashes(os::file& file, std::size_t block_bytes) {
  std::string hashes;
  std::vector<std::byte> block(block_bytes);
  for (std::uint64_t offset = 0;; offset += block_bytes) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t length, file.read_at(block, offset));
    if (length == 0) return hashes;
    hashes += to_bytes(digest_of(std::string_view(reinterpret_cast<const char*>(block.data()), length)));
    if (length < block_bytes) return hashes;
  }
}

absl::StatusOr<digest> digest_of_file(os::file& file) {
  digest_builder content;
  std::vector<std::byte> buffer(1 << 20);
  for (std::uint64_t offset = 0;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t length, file.read_at(buffer, offset));
    if (length == 0) return content.result();
    content.add(std::span(buffer).first(length));
    offset += length;
  }
}

}  // namespace understudy::files
