#include "agent-failover/replica/tree/directory_answers.hpp"

#include <string>
#include <utility>

#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr int most_directories = 1024;          // of a question; what files.proto says
constexpr std::size_t message_bytes = 1 << 20;  // well under gRPC's 4 MiB
constexpr std::size_t listing_overhead = 64;    // bytes, about, of a listing that says little

}  // namespace

absl::StatusOr<std::unique_ptr<directory_answers>> directory_answers::read(tree_sink& sink) {
  std::unique_ptr<directory_answers> made(new directory_answers(
      sink, {.owners = sink.owners_kept(), .extended_attributes = sink.attributes_kept()}));
  UNDERSTUDY_RETURN_IF_ERROR(sink.observe_all([&](const observation& found) { made->sums_.add(found); }));
  made->sums_.finish();
  return made;
}

absl::Status directory_answers::answer(const v1::FileDirectoriesQuestion& question,
                                       const std::function<void(v1::FilesSinkMessage&&)>& send) {
  if (question.directories_size() > most_directories)
    return absl::InvalidArgumentError("question: too many directories");
  v1::FilesSinkMessage message;
  std::size_t bytes = 0;
  const auto send_part = [&] {
    send(std::exchange(message, {}));
    bytes = 0;
  };
  for (const v1::FileDirectory& asked : question.directories()) {
    if (!asked.path().empty()) UNDERSTUDY_RETURN_IF_ERROR(check_path(asked.path()));
    const auto begin_listing = [&] {
      if (bytes >= message_bytes) send_part();
      v1::FileDirectoryListing* begun = message.mutable_directories()->add_listings();
      begun->set_path(asked.path());
      bytes += asked.path().size() + listing_overhead;
      return begun;
    };
    v1::FileDirectoryListing* listing = begin_listing();
    const std::optional<digest> theirs = digest_from_bytes(asked.digest());
    if (theirs && theirs == sums_.below(asked.path())) {
      listing->set_same(true);
      continue;
    }
    const absl::Status listed = sink_.observe_directory(asked.path(), [&](observation&& found) {
      if (bytes >= message_bytes) listing = begin_listing();
      v1::FileEntry& entry = *listing->add_entries();
      to_message(found.what, entry);
      if (found.what.kind == entry_kind::directory && found.what.path != base_path) {
        if (const auto below = sums_.below(found.what.path)) entry.set_below(to_bytes(*below));
      }
      if (found.names > 1) entry.set_hard_link_leader(sums_.leader_of(found.device, found.inode));
      bytes += entry.ByteSizeLong();
    });
    if (!listed.ok() && !is_absent(listed)) return listed;  // nothing there: an empty listing says so
    listing->set_complete(true);
  }
  send_part();
  return absl::OkStatus();
}

}  // namespace understudy::files
