#include "agent-failover/server/generation.hpp"

#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <memory>
#include <set>
#include <sstream>
#include <utility>

#include "agent-failover/replica/database_copy.hpp"
#include "agent-failover/replica/tree/remove_tree.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/os/time_stamp.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr const char* magic = "understudy generation 1";
constexpr const char* record_name = "generation";
constexpr const char* exchanged_name = "exchanged";  // the record, when all databases are exchanged
constexpr std::size_t longest_record = 1 << 20;      // thousands of databases

absl::StatusOr<std::string> read_text(os::directory& d, const std::string& name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, d.open(name, os::open_mode::read));
  std::string text(longest_record, '\0');
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, file->read_at(std::as_writable_bytes(std::span(text)), 0));
  text.resize(n);
  return text;
}

absl::StatusOr<generation_record> read_record(os::directory& d, const char* name = record_name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::string text, read_text(d, name));
  return parse_generation(text);
}

absl::Status unless_missing(absl::Status status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status forget_oldest(os::directory& generations, int keep) {
  std::vector<std::string> stamps;
  UNDERSTUDY_RETURN_IF_ERROR(generations.list([&](const os::directory_entry& entry) {
    stamps.push_back(entry.name);
    return true;
  }));
  std::sort(stamps.begin(), stamps.end());
  for (int more = static_cast<int>(stamps.size()) - keep; more > 0; --more)
    UNDERSTUDY_RETURN_IF_ERROR(
        files::remove_tree(generations, stamps[stamps.size() - static_cast<std::size_t>(keep + more)]));
  return generations.sync();
}

// One database of a decided generation, after a crash: exchanged already, or to be exchanged now.
absl::Status exchange_again(os::file_system& fs, const copy_layout& layout, const std::string& path,
                            const generation_record::member& member, system_clock::time_point verified_at) {
  const auto is_it = [&](const channel::sink_state& state) {
    return state.exists && state.page_size == member.page_size && state.database_pages == member.pages &&
           state.combined == member.hash;
  };
  const std::string place = layout.place_of(path);
  const auto slash = place.rfind('/');
  UNDERSTUDY_ASSIGN_OR_RETURN(auto beside, fs.open_root(place.substr(0, slash)));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto live,
                              replica::database_copy::open(std::move(beside), place.substr(slash + 1)));
  if (is_it(live->state())) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(auto next_directory, fs.open_root(layout.next()));
  UNDERSTUDY_ASSIGN_OR_RETURN(
      const auto next, replica::database_copy::open(std::move(next_directory), member.catalog + ".db"));
  if (!is_it(next->state())) {
    return absl::DataLossError(
        fmt::format("the new generation of {} is not what was verified", member.catalog));
  }
  UNDERSTUDY_RETURN_IF_ERROR(next->prepare_for_stand_in());
  UNDERSTUDY_ASSIGN_OR_RETURN(auto from, fs.open_root(layout.next()));
  return live->exchange_with(*from, member.catalog + ".db", member.page_size, next->page_hashes(),
                             verified_at);
}

// Beside the copies, among the earlier ones: the databases of either, for one that was not of the replaced
// generation may have been of one before.
absl::Status keep_replaced(os::file_system& fs, const copy_layout& layout, os::directory& next,
                           const generation_record& replaced, const generation_record& record) {
  const std::string earlier =
      fmt::format("{}/generations/{}", layout.directory(), os::time_stamp(replaced.verified_at));
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, earlier));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto to, fs.open_root(earlier));
  for (const auto* members : {&replaced.members, &record.members}) {
    for (const auto& member : *members) {
      const std::string file = member.catalog + ".db";
      UNDERSTUDY_RETURN_IF_ERROR(unless_missing(next.rename(file, *to, file)));
    }
  }
  return os::replace_file(*to, record_name, encode(replaced));
}

// The decision: from here on the new generation is the one.
absl::Status decide_generation(os::file_system& fs, const copy_layout& layout,
                               const generation_record& record) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, fs.open_root(layout.next()));
  UNDERSTUDY_RETURN_IF_ERROR(next->sync());  // the names of what is decided upon
  return os::replace_file(*next, record_name, encode(record));
}

// From here on the copies may change again, and nobody looks whether they are what was decided upon.
absl::Status note_exchanged(os::directory& next) {
  UNDERSTUDY_RETURN_IF_ERROR(next.rename(record_name, next, exchanged_name));
  return next.sync();
}

// After the exchanges: puts away what was replaced. Repeatable.
absl::Status conclude_generation(os::file_system& fs, const copy_layout& layout) {
  const int keep = shares_blocks(fs, layout) ? kept_generations_sharing : kept_generations;
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs.open_root(layout.directory()));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, fs.open_root(layout.next()));
  UNDERSTUDY_ASSIGN_OR_RETURN(const generation_record record, read_record(*next, exchanged_name));
  const auto replaced = read_record(*directory);
  if (!replaced.ok() && !absl::IsNotFound(replaced.status())) {
    log::warning("generation", "the record of the replaced generation: {}", message_of(replaced.status()));
  }
  if (replaced.ok() && *replaced != record) {
    const absl::Status kept = keep_replaced(fs, layout, *next, *replaced, record);
    if (!kept.ok() && !absl::IsResourceExhausted(kept)) return kept;
    if (!kept.ok()) log::warning("generation", "the replaced generation is not kept: {}", message_of(kept));
    for (const auto& member : replaced->members)
      UNDERSTUDY_RETURN_IF_ERROR(unless_missing(next->remove_file(member.catalog + ".db")));
  }
  for (const auto& member : record.members) {
    for (const std::string& name : names_in_next(member.catalog))
      UNDERSTUDY_RETURN_IF_ERROR(unless_missing(next->remove_file(name)));
  }
  UNDERSTUDY_RETURN_IF_ERROR(next->rename(exchanged_name, *directory, record_name));
  UNDERSTUDY_RETURN_IF_ERROR(directory->sync());
  UNDERSTUDY_RETURN_IF_ERROR(next->sync());
  const auto generations = directory->open_directory("generations");
  if (absl::IsNotFound(generations.status())) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(generations.status());
  return forget_oldest(**generations, keep);
}

}  // namespace

std::string encode(const generation_record& record) {
  std::string text =
      fmt::format("{}\nverified {}\n", magic,
                  std::chrono::duration_cast<milliseconds>(record.verified_at.time_since_epoch()).count());
  for (const auto& m : record.members)
    text += fmt::format("database {} {} {:016x} {:016x} {}\n", m.page_size, m.pages, m.hash.high, m.hash.low,
                        m.catalog);
  return text + "end\n";
}

absl::StatusOr<generation_record> parse_generation(std::string_view text) {
  const absl::Status bad = absl::DataLossError("not the record of a generation");
  std::istringstream in{std::string(text)};
  std::string line;
  if (!std::getline(in, line) || line != magic) return bad;
  generation_record record;
  std::string word;
  std::int64_t ms = 0;
  if (!(in >> word >> ms) || word != "verified") return bad;
  record.verified_at = system_clock::time_point(milliseconds(ms));
  while (in >> word && word == "database") {
    generation_record::member m;
    in >> m.page_size >> m.pages >> std::hex >> m.hash.high >> m.hash.low >> std::dec;
    if (!in || in.get() != ' ' || !std::getline(in, m.catalog) || m.catalog.empty()) return bad;
    record.members.push_back(std::move(m));
  }
  if (word != "end") return bad;
  return record;
}

bool shares_blocks(os::file_system& fs, const copy_layout& layout) {
  const auto directory = fs.open_root(layout.directory());
  if (!directory.ok()) return false;
  // Two files of one block, of which nothing has to last.
  constexpr std::array<std::byte, 4096> block{};
  const auto a = (*directory)->open(".probe-a", os::open_mode::create);
  const auto b = (*directory)->open(".probe-b", os::open_mode::create);
  const bool shares = a.ok() && b.ok() && (*a)->write_at(block, 0).ok() &&
                      ::ioctl((*b)->descriptor(), FICLONE, (*a)->descriptor()) == 0;
  (void)(*directory)->remove_file(".probe-a");
  (void)(*directory)->remove_file(".probe-b");
  return shares;
}

absl::Status begin_generation(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs.open_root(layout.directory()));
  if (directory->status(fmt::format("next/{}", exchanged_name)).ok())
    UNDERSTUDY_RETURN_IF_ERROR(conclude_generation(fs, layout));
  if (directory->status("next/generation").ok()) {
    return absl::FailedPreconditionError(
        "a new generation waits to take the copy's place; it does at the next start of understudyd");
  }
  if (absl::IsNotFound(directory->status("next").status())) {
    UNDERSTUDY_RETURN_IF_ERROR(directory->make_directory("next"));
    return directory->sync();
  }
  std::set<std::string> kept;
  for (const auto& database : spec.databases()) {
    for (const std::string& name : names_in_next(database.catalog())) kept.insert(name);
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, directory->open_directory("next"));
  std::vector<std::string> others;
  UNDERSTUDY_RETURN_IF_ERROR(next->list([&](const os::directory_entry& entry) {
    if (!kept.contains(entry.name)) others.push_back(entry.name);
    return true;
  }));
  for (const std::string& name : others) UNDERSTUDY_RETURN_IF_ERROR(files::remove_tree(*next, name));
  return next->sync();
}

std::vector<std::string> names_in_next(const std::string& catalog) {
  const std::string file = catalog + ".db";
  return {file,
          file + "-wal",
          file + "-shm",
          file + "-journal",
          file + "-heal",
          file + replica::unfinished_suffix,
          catalog + ".seeded"};
}

absl::Status put_in_use(os::file_system& fs, const copy_layout& layout,
                        const std::vector<std::shared_ptr<database_lane>>& live,
                        std::vector<finished_image> images) {
  const auto let_in = [&](absl::Status why) {
    for (const auto& lane : live) lane->let_in();
    return why;
  };
  generation_record record;
  record.verified_at = std::chrono::time_point_cast<milliseconds>(system_clock::now());
  for (std::size_t i = 0; i < live.size(); ++i) {
    if (images[i].page_size == 0) continue;
    if (absl::Status alone = live[i]->hold_alone(); !alone.ok()) return let_in(std::move(alone));
    const finished_image& image = images[i];
    record.members.push_back({.catalog = live[i]->name(),
                              .page_size = image.page_size,
                              .pages = image.hashes.size(),
                              .hash = image.hashes.combined()});
  }
  if (absl::Status decided = decide_generation(fs, layout, record); !decided.ok())
    return let_in(std::move(decided));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, fs.open_root(layout.next()));
  for (std::size_t i = 0; i < live.size(); ++i) {
    if (images[i].page_size == 0) continue;
    UNDERSTUDY_RETURN_IF_ERROR(live[i]->exchange(*next, live[i]->name() + ".db", std::move(images[i])));
  }
  UNDERSTUDY_RETURN_IF_ERROR(note_exchanged(*next));
  // It is in use. What was replaced is put away, or again before the next one is begun.
  if (const absl::Status concluded = conclude_generation(fs, layout); !concluded.ok()) {
    log::warning("generation", "what the new generation replaced cannot be put away: {}",
                 message_of(concluded));
  }
  return absl::OkStatus();
}

absl::Status complete_generation(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs.open_root(layout.directory()));
  if (absl::IsNotFound(directory->status("next").status())) return absl::OkStatus();
  if (directory->status(fmt::format("next/{}", exchanged_name)).ok()) return conclude_generation(fs, layout);
  if (absl::IsNotFound(directory->status("next/generation").status())) {
    // What was made of it so far is what the next attempt begins with, where there will be one.
    const bool made_daily =
        spec.mode() == v1::REPLICATION_MODE_WARM || spec.mode() == v1::REPLICATION_MODE_CONFIGURATION;
    return made_daily ? absl::OkStatus() : files::remove_tree(*directory, "next");
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto next, directory->open_directory("next"));
  UNDERSTUDY_ASSIGN_OR_RETURN(const generation_record record, read_record(*next));
  for (const auto& member : record.members) {
    const auto database = std::find_if(spec.databases().begin(), spec.databases().end(),
                                       [&](const auto& d) { return d.catalog() == member.catalog; });
    if (database == spec.databases().end()) continue;  // no longer protected
    UNDERSTUDY_RETURN_IF_ERROR(exchange_again(fs, layout, database->path(), member, record.verified_at));
  }
  UNDERSTUDY_RETURN_IF_ERROR(note_exchanged(*next));
  log::info(spec.name(), "the generation of {} is in use", os::time_stamp(record.verified_at));
  return conclude_generation(fs, layout);
}

}  // namespace understudy::server
