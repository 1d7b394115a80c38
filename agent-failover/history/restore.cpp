#include "agent-failover/history/restore.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include "common/status/status_macros.hpp"

namespace understudy::history {
namespace {

constexpr std::uint64_t writeback_bytes = 8 << 20;  // the disk starts early, so that the sync is short

absl::Status fill(view& from, os::file& file, const std::function<absl::Status(std::uint64_t)>& progress) {
  const std::uint32_t size = from.page_size();
  sqlite::page_hash combined;
  std::uint64_t done = 0;
  std::uint64_t unflushed = 0;
  const view::sink take = [&](std::uint32_t first, std::span<const std::byte> pages) -> absl::Status {
    for (std::size_t i = 0; i * size < pages.size(); ++i) {
      combined ^= sqlite::hash_page(first + static_cast<std::uint32_t>(i), pages.subspan(i * size, size));
    }
    UNDERSTUDY_RETURN_IF_ERROR(file.write_at(pages, std::uint64_t{first - 1} * size));
    done += pages.size();
    unflushed += pages.size();
    if (unflushed < writeback_bytes) return absl::OkStatus();
    unflushed = 0;
    // A hint only; what counts is the sync at the end.
    (void)::sync_file_range(file.descriptor(), 0, 0, SYNC_FILE_RANGE_WRITE);
    return progress(done);
  };
  UNDERSTUDY_RETURN_IF_ERROR(from.read_all(take));
  if (combined != from.combined()) {
    return absl::DataLossError(
        "what was put together is not what the primary had then: the log or the copy is damaged");
  }
  UNDERSTUDY_RETURN_IF_ERROR(file.truncate(std::uint64_t{from.page_count()} * size));
  UNDERSTUDY_RETURN_IF_ERROR(file.sync_data());
  return progress(done);
}

}  // namespace

absl::Status write_database(view& from, os::directory& to, const std::string& name, mode_t permissions,
                            const std::function<absl::Status(std::uint64_t)>& progress) {
  if (to.status(name).ok()) return absl::AlreadyExistsError(fmt::format("{} exists", name));
  const std::string part = fmt::format(".{}.part", name);
  const auto work = [&]() -> absl::Status {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, to.open(part, os::open_mode::create_new, permissions));
    UNDERSTUDY_RETURN_IF_ERROR(file->set_mode(permissions));
    UNDERSTUDY_RETURN_IF_ERROR(fill(from, *file, progress));
    UNDERSTUDY_RETURN_IF_ERROR(to.rename(part, to, name, os::rename_mode::no_replace));
    return to.sync();
  };
  // Of a restore that was cut off; nobody else uses the name.
  (void)to.remove_file(part);
  absl::Status worked = work();
  if (!worked.ok()) (void)to.remove_file(part);
  return worked;
}

}  // namespace understudy::history
