#pragma once

// What every receiver of changes needs: whom a change concerns, its content in staging, and how it is
// refused.

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/copy_place.hpp"

namespace understudy::v1 {
class FileChange;
class FilePut;
class FileRefusal;
}  // namespace understudy::v1

namespace understudy::files {

std::string path_of(const v1::FileChange& change);
absl::Status refuse(std::string_view path, std::string_view reason);
// As the sender is to hear of it: whether to send it again later follows from the status.
void add_refusal(const v1::FileChange& change, const absl::Status& status,
                 std::vector<v1::FileRefusal>& refusals);
// The content of a regular file, inline or uploaded, checked, under a staging name, not synced.
absl::StatusOr<staged_file> stage_content(copy_place& place, const v1::FilePut& put, const entry& e);
absl::StatusOr<digest> digest_of_file(os::file& file);
// XXH3-128 of each block, 16 bytes one after the other; the last block may be shorter.
absl::StatusOr<std::string> block_hashes(os::file& file, std::size_t block_bytes);

}  // namespace understudy::files
