#include "agent-failover/replica/tree/incoming_tree.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "agent-failover/replica/tree/incoming_adoption.hpp"
#include "agent-failover/replica/tree/remove_tree.hpp"
#include "agent-failover/replica/tree/tree_change.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t most_paths_said = 100;  // of files that have diverged; what files.proto says
constexpr std::size_t few = 4;  // up to here single syncs are faster than syncing the filesystem

std::string name_of_number(std::uint64_t number) {
  return fmt::format("{}", number);
}

// Numbers beside the log that no record names, and what else is there.
absl::Status sweep(os::directory& where, const incoming_items& items, std::uint64_t& last) {
  std::set<std::string> named;
  for (const auto& [path, item] : items) {
    if (item && item->number != 0) named.insert(name_of_number(item->number));
  }
  std::vector<std::string> unnamed;
  UNDERSTUDY_RETURN_IF_ERROR(where.list([&](const os::directory_entry& found) {
    std::uint64_t number = 0;
    std::from_chars(found.name.data(), found.name.data() + found.name.size(), number);
    last = std::max(last, number);
    if (number != 0 && !named.contains(found.name)) unnamed.push_back(found.name);
    return true;
  }));
  for (const std::string& name : unnamed) UNDERSTUDY_RETURN_IF_ERROR(where.remove_file(name));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<incoming_tree>> incoming_tree::open(os::file_system& fs,
                                                                   tree_sink_options options,
                                                                   std::uint64_t epoch, frozen_base base) {
  UNDERSTUDY_RETURN_IF_ERROR(finish_adoption(fs, options));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto place, open_copy_place(fs, options));
  std::unique_ptr<incoming_tree> opened(
      new incoming_tree(std::move(options), std::move(place), std::move(base)));
  UNDERSTUDY_RETURN_IF_ERROR(opened->load(epoch));
  return opened;
}

absl::Status incoming_tree::load(std::uint64_t epoch) {
  adopted_until_ = incoming_adoption::adopted_until(*place_, options_.name);
  UNDERSTUDY_ASSIGN_OR_RETURN(where_, open_or_make_directory(place_->staging->where(), incoming_name, 0700));
  UNDERSTUDY_ASSIGN_OR_RETURN(log_, incoming_log::open(*where_, epoch, items_));
  UNDERSTUDY_RETURN_IF_ERROR(sweep(*where_, items_, last_number_));
  for (const auto& [path, item] : items_) {
    if (item && item->number != 0) {
      ++uses_[item->number];
      // An append that was not recorded left the file longer than its record.
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, open_content(*item));
      UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, file->status());
      if (static_cast<std::uint64_t>(status.st_size) > item->what.size) {
        UNDERSTUDY_RETURN_IF_ERROR(file->truncate(item->what.size));
      }
    }
    if (is_diverged(path, item)) diverged_.insert(path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<os::file>> incoming_tree::open_content(const incoming_item& item) {
  if (item.number != 0) return where_->open(name_of_number(item.number), os::open_mode::read_write);
  return place_->tree->open(item.present, os::open_mode::read);
}

absl::StatusOr<std::optional<incoming_item>> incoming_tree::at(std::string_view path) {
  if (const auto known = items_.find(path); known != items_.end()) return known->second;
  tree_reader reader(*place_->tree, *place_->matcher, place_->attributes_kept);
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<observation> found, reader.observe(path));
  if (!found) return std::optional<incoming_item>{};
  incoming_item item{.what = std::move(found->what)};
  if (item.what.kind == entry_kind::regular) item.present = path;
  return std::optional(std::move(item));
}

std::vector<std::string> incoming_tree::below(std::string_view directory) {
  std::vector<std::string> paths;
  tree_reader reader(*place_->tree, *place_->matcher, false);
  reader.walk(
      directory,
      [&](observation&& found) {
        if (!items_.contains(found.what.path)) paths.push_back(std::move(found.what.path));
        return true;
      },
      [](const std::string&, const absl::Status&) {});
  const std::string prefix = std::string(directory) + "/";
  for (auto i = items_.lower_bound(prefix); i != items_.end() && i->first.starts_with(prefix); ++i) {
    if (i->second) paths.push_back(i->first);
  }
  return paths;
}

void incoming_tree::set(std::string_view path, std::optional<incoming_item> item) {
  if (item) item->what.path = path;
  if (item && item->number != 0) ++uses_[item->number];
  auto& known = items_[std::string(path)];
  if (known && known->number != 0 && --uses_[known->number] == 0) left_.push_back(known->number);
  known = std::move(item);
  changed_.emplace(path);
}

// Only when the journal no longer names them.
void incoming_tree::drop_left() {
  for (const std::uint64_t number : std::exchange(left_, {})) {
    const auto uses = uses_.find(number);
    if (uses == uses_.end() || uses->second > 0) continue;
    uses_.erase(uses);
    (void)where_->remove_file(name_of_number(number));  // what stays is swept when it is opened next
  }
}

// What the primary wrote after the copy last heard of it, and what arrives is something else.
bool incoming_tree::is_diverged(std::string_view path, const std::optional<incoming_item>& item) {
  if (path == base_path) return false;
  tree_reader reader(*place_->tree, *place_->matcher, false);
  const auto found = reader.observe(path);
  if (!found.ok() || !*found || (*found)->what.kind == entry_kind::directory) return false;
  const observation& own = **found;
  if (own.changed_at <= std::max(base_.in_step_until - base_doubt, adopted_until_)) return false;
  const auto same = [&](const entry& other) {
    return other.kind == own.what.kind && other.size == own.what.size &&
           other.modified_at == own.what.modified_at && other.target == own.what.target;
  };
  if (const auto recent = base_.recent.find(std::string(path));
      recent != base_.recent.end() && same(recent->second)) {
    return false;
  }
  if (!item || item->what.kind != own.what.kind) return true;
  if (own.what.kind == entry_kind::symlink) return item->what.target != own.what.target;
  if (item->number == 0 && item->present == path) return false;
  if (item->what.size != own.what.size) return true;
  const auto content = [&](const incoming_item& of) -> std::optional<digest> {
    const auto file = open_content(of);
    if (!file.ok()) return std::nullopt;
    const auto read = digest_of_file(**file);
    return read.ok() ? std::optional(*read) : std::nullopt;
  };
  const auto mine = content(incoming_item{.what = own.what, .number = 0, .present = std::string(path)});
  return !mine || mine != content(*item);
}

std::optional<divergence> incoming_tree::diverged() {
  divergence found{.count = diverged_.size(), .paths = {}};
  for (const std::string& path : diverged_) {
    if (found.paths.size() == most_paths_said) break;
    found.paths.push_back(path);
  }
  return found;
}

absl::Status incoming_tree::scan(const std::function<void(entry&&)>& visit) {
  tree_reader reader(*place_->tree, *place_->matcher, place_->attributes_kept);
  std::map<std::string, std::uint32_t> groups;
  const auto group_of = [&](const std::string& content) {
    return groups.try_emplace(content, static_cast<std::uint32_t>(groups.size() + 1)).first->second;
  };
  const auto show_item = [&](const incoming_item& item) {
    entry e = item.what;
    e.content.reset();
    e.hard_link_group = 0;
    if (e.kind == entry_kind::regular && item.number != 0) {
      e.hard_link_group = group_of(fmt::format("n{}", item.number));
    } else if (e.kind == entry_kind::regular) {
      const auto status = place_->tree->status(item.present);
      if (status.ok()) e.hard_link_group = group_of(fmt::format("i{}", status->st_ino));
    }
    visit(std::move(e));
  };
  absl::Status failure;
  const auto show = [&](observation&& found) {
    if (items_.contains(found.what.path)) return true;
    if (found.names > 1) found.what.hard_link_group = group_of(fmt::format("i{}", found.inode));
    visit(std::move(found.what));
    return true;
  };
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<observation> base, reader.observe(base_path));
  show(*std::move(base));
  reader.walk("", show, [&](const std::string&, const absl::Status& status) { failure.Update(status); });
  for (const auto& [path, item] : items_) {
    if (item) show_item(*item);
  }
  return failure;
}

absl::StatusOr<std::unique_ptr<os::file>> incoming_tree::open_present(std::string_view path) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(path));
  if (!place_->matcher->includes_file(path)) return refuse(path, "it is not among the files selected");
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::optional<incoming_item> item, at(path));
  if (!item || item->what.kind != entry_kind::regular) return refuse(path, "not a regular file");
  return open_content(*item);
}

absl::Status incoming_tree::apply(std::span<const v1::FileChange> changes,
                                  std::vector<v1::FileRefusal>& refusals) {
  changed_.clear();
  for (const v1::FileChange& one : changes) {
    const absl::Status status = change(one);
    if (!status.ok()) add_refusal(one, status, refusals);
  }
  // First the contents, then what names them.
  std::vector<const incoming_item*> contents;
  for (const std::string& path : changed_) {
    const auto& item = items_.find(path)->second;
    if (item && item->number != 0) contents.push_back(&*item);
  }
  if (contents.size() >= few) {
    UNDERSTUDY_RETURN_IF_ERROR(place_->fs->sync_file_system(*where_));
  } else if (!contents.empty()) {
    for (const incoming_item* item : contents) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, open_content(*item));
      UNDERSTUDY_RETURN_IF_ERROR(file->sync_data());
    }
    UNDERSTUDY_RETURN_IF_ERROR(where_->sync());
  }
  for (const std::string& path : changed_) {
    const auto& item = items_.find(path)->second;
    log_->add(path, item);
    if (is_diverged(path, item)) {
      diverged_.insert(path);
    } else {
      diverged_.erase(path);
    }
  }
  UNDERSTUDY_RETURN_IF_ERROR(log_->sync());
  drop_left();
  return absl::OkStatus();
}

absl::Status incoming_tree::change(const v1::FileChange& change) {
  switch (change.change_case()) {
    case v1::FileChange::kPut:
      return put(change.put());
    case v1::FileChange::kRemove:
      return remove(change.remove().path());
    case v1::FileChange::kRename:
      return rename(change.rename());
    case v1::FileChange::kAttributes:
      return set_attributes(change.attributes());
    case v1::FileChange::kAppend:
      return append(change.append());
    case v1::FileChange::kLink:
      return link(change.link());
    case v1::FileChange::CHANGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a change of an unknown kind");
}

absl::Status incoming_tree::check_free_of_databases(std::string_view path) const {
  if (place_->matcher->is_database(path) || place_->matcher->has_database_below(path)) {
    return refuse(path, "a protected database lies there");
  }
  if (path == reserved_name || is_below(path, reserved_name)) return refuse(path, "the name is reserved");
  return absl::OkStatus();
}

absl::Status incoming_tree::put(const v1::FilePut& put) {
  UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(put.entry(), false));
  const bool wanted = e.kind == entry_kind::directory ? place_->matcher->includes_directory(e.path)
                                                      : place_->matcher->includes_file(e.path);
  if (!wanted) return refuse(e.path, "it is not among the files selected");
  incoming_item item{.what = std::move(e)};
  const std::string path = item.what.path;
  if (item.what.kind == entry_kind::regular) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const staged_file staged, stage_content(*place_, put, item.what));
    item.number = ++last_number_;
    UNDERSTUDY_RETURN_IF_ERROR(
        place_->staging->where().rename(staged.name, *where_, name_of_number(item.number)));
  }
  if (item.what.kind != entry_kind::directory) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto present, at(path));
    if (present && present->what.kind == entry_kind::directory) UNDERSTUDY_RETURN_IF_ERROR(remove(path));
  }
  set(path, std::move(item));
  return absl::OkStatus();
}

absl::Status incoming_tree::append(const v1::FileAppend& append) {
  UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(append.entry(), false));
  if (e.kind != entry_kind::regular || e.size < append.offset() ||
      e.size - append.offset() != append.content().size()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: an append whose sizes do not agree", printable(e.path)));
  }
  if (!place_->matcher->includes_file(e.path)) return refuse(e.path, "it is not among the files selected");
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<incoming_item> item, at(e.path));
  if (!item || item->what.kind != entry_kind::regular || item->what.size != append.offset())
    return refuse(e.path, "it has another size");
  const std::string path = e.path;
  if (item->number == 0) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto present, open_content(*item));
    const std::uint64_t number = ++last_number_;
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto file,
                                where_->open(name_of_number(number), os::open_mode::create_new, 0600));
    UNDERSTUDY_RETURN_IF_ERROR(file->clone_from(*present));
    item->number = number;
    item->present.clear();
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto file, open_content(*item));
  const std::string_view content = append.content();
  UNDERSTUDY_RETURN_IF_ERROR(
      file->write_at(std::as_bytes(std::span(content.data(), content.size())), append.offset()));
  item->what = std::move(e);
  set(path, std::move(item));
  return absl::OkStatus();
}

absl::Status incoming_tree::link(const v1::FileLink& link) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(link.existing()));
  UNDERSTUDY_RETURN_IF_ERROR(check_path(link.path()));
  if (!place_->matcher->includes_file(link.path()) || !place_->matcher->includes_file(link.existing())) {
    return refuse(link.path(), "it is not among the files selected");
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<incoming_item> item, at(link.existing()));
  if (!item || item->what.kind != entry_kind::regular) return refuse(link.existing(), "not a regular file");
  UNDERSTUDY_RETURN_IF_ERROR(remove(link.path()));
  set(link.path(), std::move(item));
  return absl::OkStatus();
}

absl::Status incoming_tree::set_attributes(const v1::FileEntry& attributes) {
  UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(attributes, true));
  if (place_->matcher->is_database(e.path)) return refuse(e.path, "a protected database has this name");
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<incoming_item> item, at(e.path));
  if (!item || item->what.kind != e.kind) return refuse(e.path, "it has another kind");
  if (e.kind == entry_kind::regular && item->what.size != e.size)
    return refuse(e.path, "it has another size");
  const std::string path = e.path;
  item->what = std::move(e);
  set(path, std::move(item));
  return absl::OkStatus();
}

absl::Status incoming_tree::remove(std::string_view path) {
  UNDERSTUDY_RETURN_IF_ERROR(check_path(path));
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::optional<incoming_item> item, at(path));
  if (!item) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(check_free_of_databases(path));
  if (item->what.kind == entry_kind::directory) {
    for (const std::string& one : below(path)) set(one, std::nullopt);
  }
  set(path, std::nullopt);
  return absl::OkStatus();
}

absl::Status incoming_tree::rename(const v1::FileRename& rename) {
  const std::string& from = rename.from();
  const std::string& to = rename.to();
  UNDERSTUDY_RETURN_IF_ERROR(check_path(from));
  UNDERSTUDY_RETURN_IF_ERROR(check_path(to));
  if (from == to || is_below(from, to) || is_below(to, from)) return refuse(to, "a rename into itself");
  UNDERSTUDY_RETURN_IF_ERROR(check_free_of_databases(from));
  UNDERSTUDY_RETURN_IF_ERROR(check_free_of_databases(to));
  UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<incoming_item> item, at(from));
  if (!item) return absl::NotFoundError(fmt::format("{}: there is nothing to rename", printable(from)));
  const bool is_directory = item->what.kind == entry_kind::directory;
  if (is_directory ? !place_->matcher->includes_directory(to) : !place_->matcher->includes_file(to)) {
    return refuse(to, "it is not among the files selected");
  }
  UNDERSTUDY_RETURN_IF_ERROR(remove(to));
  if (is_directory) {
    for (const std::string& one : below(from)) {
      UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<incoming_item> moved, at(one));
      set(std::string(to) + one.substr(from.size()), std::move(moved));
      set(one, std::nullopt);
    }
  }
  set(to, std::move(item));
  set(from, std::nullopt);
  return absl::OkStatus();
}

absl::StatusOr<adopted_tree> incoming_tree::adopt(const std::string& aside) {
  incoming_adoption adoption(*place_, *where_, options_.name, items_);
  UNDERSTUDY_RETURN_IF_ERROR(adoption.decide(aside, diverged_));
  return adoption.carry_out();
}

absl::Status finish_adoption(os::file_system& fs, const tree_sink_options& options) {
  if (!incoming_adoption::is_begun(fs, options)) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto place, open_copy_place(fs, options));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto where, place->staging->where().open_directory(incoming_name));
  incoming_items items;
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto log, incoming_log::open(*where, 0, items));
  log::warning(options.name, "{}: an adoption that was interrupted is finished now", options.tree);
  return incoming_adoption(*place, *where, options.name, items).carry_out().status();
}

absl::Status discard_incoming(os::file_system& fs, const tree_sink_options& options) {
  UNDERSTUDY_RETURN_IF_ERROR(finish_adoption(fs, options));
  if (!incoming_adoption::is_collected(fs, options)) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto place, open_copy_place(fs, options));
  return remove_tree(place->staging->where(), incoming_name);
}

}  // namespace understudy::files
