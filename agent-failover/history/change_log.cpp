#include "agent-failover/history/change_log.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::history {
namespace {

constexpr std::string_view suffix = ".history";
constexpr std::uint64_t mark_every = 64 << 10;  // bytes between two marks: what a look-up reads at most
constexpr std::size_t most_marks = 40'000;      // that an index block holds
constexpr std::size_t buffer_bytes = 1 << 20;   // written at once
constexpr std::size_t trailer_bytes = 8;        // offset of the index block

std::span<const std::byte> bytes_of(const std::string& s) {
  return std::as_bytes(std::span(s));
}

absl::Status cut_short() {
  return absl::DataLossError("the history's log is damaged: a file is cut short");
}

}  // namespace

std::string change_log::file_name(std::uint64_t which) {
  return fmt::format("{:020}{}", which, suffix);
}

absl::StatusOr<std::unique_ptr<change_log>> change_log::open(os::file_system& fs, std::string directory,
                                                             std::uint64_t segment_bytes) {
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, directory, 0700));
  std::unique_ptr<change_log> opened(new change_log(fs, std::move(directory), segment_bytes));
  UNDERSTUDY_ASSIGN_OR_RETURN(opened->held_, fs.open_root(opened->directory_));
  UNDERSTUDY_RETURN_IF_ERROR(opened->recover());
  return opened;
}

void change_log::note(segment& s, const change& c, std::uint64_t offset) {
  if (s.marks.empty() || offset - s.marks.back().offset >= mark_every) {
    if (s.marks.size() < most_marks) s.marks.push_back({c.sequence, offset, c.committed_at});
  }
  if (!s.marks.empty()) s.marks.back().latest = std::max(s.marks.back().latest, c.committed_at);
  if (c.sequence == s.first) s.begins = c.kind == change_kind::begin;
  s.last = c.sequence;
  s.last_applied = c.applied_at;
}

absl::Status change_log::scan(os::file& f, std::uint64_t size, bool verify, segment& s) {
  std::uint64_t at = s.end;
  std::uint64_t change_at = at;
  bool within = false;
  std::string bytes;
  while (at + block_header_bytes <= size) {
    bytes.resize(block_header_bytes);
    UNDERSTUDY_RETURN_IF_ERROR(f.read_at(std::as_writable_bytes(std::span(bytes)), at).status());
    const auto head = head_bytes_of(bytes_of(bytes));
    if (!head.ok()) break;
    bytes.resize(*head);
    UNDERSTUDY_RETURN_IF_ERROR(f.read_at(std::as_writable_bytes(std::span(bytes)), at).status());
    const auto b = parse_block_head(bytes_of(bytes));
    if (!b.ok() || b->index || at + b->bytes > size) break;
    // The blocks of one change follow each other, the changes too.
    if (b->what.sequence != s.last + 1) break;
    if (b->what.kind == change_kind::begin && b->what.sequence != s.first) break;
    if (verify) {
      std::string payload(b->payload_bytes(), '\0');
      UNDERSTUDY_RETURN_IF_ERROR(f.read_at(std::as_writable_bytes(std::span(payload)), at + *head).status());
      const bool whole = b->what.kind == change_kind::begin ? reason_of(*b, bytes_of(payload)).ok()
                                                            : images_of(*b, bytes_of(payload)).ok();
      if (!whole) break;
    }
    if (!within) change_at = at;
    within = !b->last;
    at += b->bytes;
    if (!b->last) continue;
    note(s, b->what, change_at);
    s.end = at;
    last_ = b->what;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> change_log::read_index(os::file& f, std::uint64_t size, segment& s) {
  if (size < segment_header_bytes + block_header_bytes + trailer_bytes) return false;
  std::uint64_t offset = 0;
  UNDERSTUDY_RETURN_IF_ERROR(
      f.read_at(std::as_writable_bytes(std::span(&offset, 1)), size - trailer_bytes).status());
  if (offset < segment_header_bytes || offset >= size || size - trailer_bytes - offset > largest_block)
    return false;
  std::string bytes(size - trailer_bytes - offset, '\0');
  UNDERSTUDY_RETURN_IF_ERROR(f.read_at(std::as_writable_bytes(std::span(bytes)), offset).status());
  const auto index = parse_block_head(bytes_of(bytes));
  if (!index.ok() || !index->index || index->bytes != bytes.size()) return false;
  auto marks = marks_of(*index, bytes_of(bytes).subspan(index->head_bytes()));
  if (!marks.ok() || marks->empty() || marks->front().sequence != s.first ||
      marks->front().offset != segment_header_bytes || marks->back().sequence > index->what.sequence ||
      marks->back().offset >= offset) {
    return false;
  }
  // What the index does not say is in the last changes: read from the last mark on.
  s.marks = *std::move(marks);
  s.last = s.marks.back().sequence - 1;
  s.end = s.marks.back().offset;
  const bool begins = s.marks.size() > 1;
  UNDERSTUDY_RETURN_IF_ERROR(scan(f, offset, false, s));
  if (s.last != index->what.sequence || s.end != offset) return false;
  if (begins) {
    segment first;
    first.first = s.first;
    first.last = s.first - 1;
    first.end = segment_header_bytes;
    const auto kept = last_;
    UNDERSTUDY_RETURN_IF_ERROR(scan(f, std::min<std::uint64_t>(s.marks[1].offset, offset), false, first));
    last_ = kept;
    s.begins = first.begins;
  }
  s.sealed = true;
  return true;
}

absl::StatusOr<change_log::segment> change_log::examine(const std::string& name, bool newest) {
  segment s;
  UNDERSTUDY_ASSIGN_OR_RETURN(auto f,
                              held_->open(name, newest ? os::open_mode::read_write : os::open_mode::read));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat st, f->status());
  const auto size = static_cast<std::uint64_t>(st.st_size);
  std::array<std::byte, segment_header_bytes> head{};
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, f->read_at(head, 0));
  const auto header = parse_segment_header(std::span(head).first(n));
  if (!header || file_name(header->first) != name) return cut_short();
  const auto forget = [&] {
    s = {};
    s.first = header->first;
    s.last = header->first - 1;
    s.end = segment_header_bytes;
    s.before_committed_at = header->before_committed_at;
    s.last_applied = header->before_applied_at;
  };
  forget();
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool indexed, read_index(*f, size, s));
  if (!indexed) {
    forget();
    UNDERSTUDY_RETURN_IF_ERROR(scan(*f, size, newest, s));
    if (newest) {
      if (s.end != size) UNDERSTUDY_RETURN_IF_ERROR(f->truncate(s.end));
      file_ = std::move(f);
      written_ = s.end;
    } else {
      s.sealed = true;
    }
  }
  s.file_bytes = s.sealed ? size : s.end;
  // Its age in this process; what counts for dropping is the time in the changes.
  s.since = clock_time(std::chrono::seconds(st.st_mtim.tv_sec));
  return s;
}

absl::Status change_log::recover() {
  std::vector<std::string> names;
  UNDERSTUDY_RETURN_IF_ERROR(held_->list([&](const os::directory_entry& e) {
    if (e.name.size() == file_name(1).size() && e.name.ends_with(suffix)) names.push_back(e.name);
    return true;
  }));
  std::sort(names.begin(), names.end());
  // From the newest back: the chain is only good as far as it is whole.
  std::optional<change> newest;
  bool whole = true;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (whole) {
      const bool first = segments_.empty();
      last_.reset();
      auto s = examine(*name, first);
      // One without a change says nothing that the one before it does not say.
      const bool good = s.ok() && s->last >= s->first && (first || s->last + 1 == segments_.front().first);
      if (good) {
        if (first) newest = last_;
        whole = !s->begins;
        segments_.insert(segments_.begin(), *std::move(s));
        continue;
      }
      if (first) {
        file_.reset();
      } else {
        whole = false;
      }
    }
    UNDERSTUDY_RETURN_IF_ERROR(held_->remove_file(*name));
    names_unsynced_ = true;
  }
  last_ = newest;
  if (!segments_.empty() && segments_.front().begins) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto f, held_->open(file_name(segments_.front().first), os::open_mode::read));
    std::string bytes(block_header_bytes + longest_reason, '\0');
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                                f->read_at(std::as_writable_bytes(std::span(bytes)), segment_header_bytes));
    bytes.resize(n);
    const auto b = parse_block_head(bytes_of(bytes));
    if (b.ok() && b->bytes <= bytes.size()) {
      const auto all = bytes_of(bytes).first(b->bytes);
      if (auto reason = reason_of(*b, all.subspan(b->head_bytes())); reason.ok())
        began_because_ = *std::move(reason);
      interrupted_ = b->what.time_estimated;
    }
  }
  return absl::OkStatus();
}

std::optional<change> change_log::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

absl::Status change_log::start_segment(std::uint64_t first, const change& before) {
  segment s;
  s.first = first;
  s.last = first - 1;
  s.end = s.file_bytes = segment_header_bytes;
  s.before_committed_at = before.committed_at;
  s.since = s.last_applied = before.applied_at;
  // The log's own only when it is begun: without a segment there is no file.
  file_.reset();
  UNDERSTUDY_ASSIGN_OR_RETURN(auto file, held_->open(file_name(first), os::open_mode::create, 0600));
  UNDERSTUDY_RETURN_IF_ERROR(file->truncate(0));
  const auto header = encode({first, before.committed_at, before.applied_at});
  UNDERSTUDY_RETURN_IF_ERROR(file->write_at(header, 0));
  file_ = std::move(file);
  names_unsynced_ = true;
  written_ = segment_header_bytes;
  buffer_.clear();
  finished_.clear();
  unfinished_ = false;
  const std::lock_guard lock(mutex_);
  segments_.push_back(std::move(s));
  return absl::OkStatus();
}

absl::Status change_log::begin(change what, std::string_view reason) {
  std::vector<std::uint64_t> gone;
  {
    const std::lock_guard lock(mutex_);
    // After a log that was lost whole, numbers that were used are not used again either.
    what.sequence = last_ ? last_->sequence + 1
                          : static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                                           what.applied_at.time_since_epoch())
                                                           .count());
    for (const segment& s : segments_) gone.push_back(s.first);
    // A segment that was begun for this very change is written anew.
    std::erase(gone, what.sequence);
    segments_.clear();
    began_because_ = std::string(reason);
    interrupted_ = what.time_estimated;
  }
  what.kind = change_kind::begin;
  file_.reset();
  // First of all, for the disk may be full.
  for (const std::uint64_t first : gone) {
    if (const absl::Status s = held_->remove_file(file_name(first)); !s.ok() && !absl::IsNotFound(s))
      return s;
  }
  UNDERSTUDY_RETURN_IF_ERROR(start_segment(what.sequence, what));
  change_at_ = written_;
  buffer_ = encode_begin(what, reason);
  finished_.push_back({what, change_at_, written_ + buffer_.size()});
  return sync();
}

absl::Status change_log::append(const block& b, std::string_view images, bool compress) {
  if (!unfinished_) {
    bool full = false;
    if (file_ != nullptr && finished_.empty()) {
      const std::lock_guard lock(mutex_);
      full = written_ >= segment_bytes_ && segments_.back().first < b.what.sequence;
    }
    if (full) UNDERSTUDY_RETURN_IF_ERROR(rotate());
    if (file_ == nullptr) UNDERSTUDY_RETURN_IF_ERROR(start_segment(b.what.sequence, *last()));
    change_at_ = written_ + buffer_.size();
  }
  buffer_ += encode_block(b, images, compress);
  unfinished_ = !b.last;
  if (b.last) finished_.push_back({b.what, change_at_, written_ + buffer_.size()});
  return buffer_.size() >= buffer_bytes ? write() : absl::OkStatus();
}

absl::Status change_log::write() {
  if (buffer_.empty()) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(file_->write_at(bytes_of(buffer_), written_));
  written_ += buffer_.size();
  buffer_.clear();
  const std::lock_guard lock(mutex_);
  segments_.back().file_bytes = written_;
  return absl::OkStatus();
}

void change_log::show() {
  if (finished_.empty()) return;
  const std::lock_guard lock(mutex_);
  segment& s = segments_.back();
  for (const finished& f : finished_) note(s, f.what, f.offset);
  s.end = finished_.back().end;
  last_ = finished_.back().what;
  finished_.clear();
}

absl::Status change_log::flush() {
  UNDERSTUDY_RETURN_IF_ERROR(write());
  show();
  return absl::OkStatus();
}

absl::Status change_log::drop_unshown() {
  buffer_.clear();
  finished_.clear();
  unfinished_ = false;
  if (file_ == nullptr) return absl::OkStatus();
  std::uint64_t end = 0;
  {
    const std::lock_guard lock(mutex_);
    end = segments_.back().end;
  }
  if (written_ > end) UNDERSTUDY_RETURN_IF_ERROR(file_->truncate(end));
  written_ = end;
  const std::lock_guard lock(mutex_);
  segments_.back().file_bytes = end;
  return absl::OkStatus();
}

absl::Status change_log::sync() {
  UNDERSTUDY_RETURN_IF_ERROR(flush());
  if (file_ != nullptr) UNDERSTUDY_RETURN_IF_ERROR(file_->sync_data());
  if (names_unsynced_) UNDERSTUDY_RETURN_IF_ERROR(held_->sync());
  names_unsynced_ = false;
  return absl::OkStatus();
}

absl::Status change_log::rotate() {
  if (file_ == nullptr) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(flush());
  std::string index;
  {
    const std::lock_guard lock(mutex_);
    const segment& s = segments_.back();
    if (s.last < s.first) return absl::OkStatus();
    index = encode_index(s.last, s.marks);
  }
  const std::uint64_t at = written_;
  index.append(reinterpret_cast<const char*>(&at), sizeof at);
  UNDERSTUDY_RETURN_IF_ERROR(file_->write_at(bytes_of(index), at));
  written_ += index.size();
  UNDERSTUDY_RETURN_IF_ERROR(sync());
  file_.reset();
  const std::lock_guard lock(mutex_);
  segments_.back().sealed = true;
  segments_.back().file_bytes = written_;
  return absl::OkStatus();
}

absl::Status change_log::drop_oldest() {
  std::uint64_t first = 0;
  {
    const std::lock_guard lock(mutex_);
    if (segments_.size() < 2 || segments_[1].last < segments_[1].first) {
      return absl::FailedPreconditionError("the history has one segment only");
    }
    first = segments_.front().first;
    segments_.erase(segments_.begin());
    began_because_.clear();
    interrupted_ = false;
  }
  names_unsynced_ = true;
  return held_->remove_file(file_name(first));
}

absl::Status change_log::remove(os::file_system& fs, const std::string& directory) {
  const auto held = fs.open_root(directory);
  if (absl::IsNotFound(held.status())) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(held.status());
  std::vector<std::string> names;
  UNDERSTUDY_RETURN_IF_ERROR((*held)->list([&](const os::directory_entry& e) {
    if (e.name.ends_with(suffix)) names.push_back(e.name);
    return true;
  }));
  for (const std::string& name : names) UNDERSTUDY_RETURN_IF_ERROR((*held)->remove_file(name));
  const auto slash = directory.rfind('/');
  UNDERSTUDY_ASSIGN_OR_RETURN(auto parent, fs.open_root(directory.substr(0, slash)));
  return parent->remove_directory(directory.substr(slash + 1));
}

change_log::extent change_log::range() const {
  const std::lock_guard lock(mutex_);
  extent e;
  e.began_because = began_because_;
  e.interrupted = interrupted_;
  if (!last_ || segments_.empty()) return e;
  e.exists = true;
  e.last = last_->sequence;
  e.newest = *last_;
  e.segments = segments_.size();
  for (const segment& s : segments_) e.bytes += s.file_bytes;
  const segment& oldest = segments_.front();
  e.first = oldest.begins ? oldest.first : oldest.first - 1;
  e.begins_at = oldest.before_committed_at;
  e.oldest_segment_ends_at = oldest.last_applied;
  e.newest_segment_since = segments_.back().since;
  return e;
}

std::uint64_t change_log::bytes() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t sum = 0;
  for (const segment& s : segments_) sum += s.file_bytes;
  return sum;
}

std::optional<place> change_log::near(std::uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  for (const segment& s : segments_) {
    if (sequence < s.first || sequence > s.last) continue;
    const auto after =
        std::upper_bound(s.marks.begin(), s.marks.end(), sequence,
                         [](std::uint64_t wanted, const mark& m) { return wanted < m.sequence; });
    return place{s.first, std::prev(after)->offset};
  }
  return std::nullopt;
}

std::optional<place> change_log::near(clock_time time) const {
  const std::lock_guard lock(mutex_);
  for (const segment& s : segments_) {
    for (const mark& m : s.marks) {
      if (m.latest > time) return place{s.first, m.offset};
    }
  }
  return std::nullopt;
}

std::optional<place> change_log::after_segment(std::uint64_t which) const {
  const std::lock_guard lock(mutex_);
  for (const auto& s : segments_) {
    if (s.first > which) return place{s.first, segment_header_bytes};
  }
  return std::nullopt;
}

std::uint64_t change_log::end_of(std::uint64_t which) const {
  const std::lock_guard lock(mutex_);
  for (const auto& s : segments_) {
    if (s.first == which) return s.end;
  }
  return 0;
}

}  // namespace understudy::history
