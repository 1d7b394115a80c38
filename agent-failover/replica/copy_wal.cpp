#include "agent-failover/replica/copy_wal.hpp"

#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::replica {
namespace {

constexpr std::uint64_t chunk_bytes = 1
                                      << 20;   // the file grows by this much, zeros written: overwriting them
                                               // later changes no metadata, which halves the time of a sync
constexpr std::uint64_t kept_bytes = 8 << 20;  // a -wal that a heal or a stuck reader made larger shrinks to
                                               // this at its next start
constexpr std::size_t read_ahead_bytes = 1 << 20;

absl::StatusOr<std::uint32_t> random_word() {
  std::uint32_t word;
  if (::getrandom(&word, sizeof word, 0) != sizeof word) return errno_status(errno, "getrandom", "");
  return word;
}

}  // namespace

absl::StatusOr<std::unique_ptr<copy_wal>> copy_wal::open(os::directory& directory, const std::string& name,
                                                         const struct ::stat& like, bool& created) {
  created = absl::IsNotFound(directory.status(name).status());
  UNDERSTUDY_ASSIGN_OR_RETURN(auto file, directory.open(name, os::open_mode::create, like.st_mode & 0777));
  if (created) {
    UNDERSTUDY_RETURN_IF_ERROR(file->set_mode(like.st_mode & 0777));
    UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat now, file->status());
    if (now.st_uid != like.st_uid || now.st_gid != like.st_gid) {
      UNDERSTUDY_RETURN_IF_ERROR(file->set_owner(like.st_uid, like.st_gid));
    }
  }
  return std::unique_ptr<copy_wal>(new copy_wal(std::move(file)));
}

absl::StatusOr<std::unique_ptr<copy_wal>> copy_wal::open_to_read(os::directory& directory,
                                                                 const std::string& name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto file, directory.open(name, os::open_mode::read));
  std::unique_ptr<copy_wal> opened(new copy_wal(std::move(file)));
  opened->read_only_ = true;
  return opened;
}

void copy_wal::forget_frames() {
  end_ = last_commit_ = tail_ = {};
  if (header_) end_.chain = last_commit_.chain = tail_.chain = header_->checksum;
  pages_.clear();
  commits_.clear();
  index_.clear();
}

absl::Status copy_wal::recover() {
  header_.reset();
  header_bytes_ = {};
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, file_->status());
  reserved_ = static_cast<std::uint64_t>(s.st_size);
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, file_->read_at(header_bytes_, 0));
  if (n == header_bytes_.size()) header_ = sqlite::parse_wal_header(header_bytes_);
  forget_frames();
  if (!header_) return absl::OkStatus();

  const std::size_t one = frame_bytes();
  std::vector<std::byte> buffer(std::max<std::size_t>(1, read_ahead_bytes / one) * one);
  std::vector<std::uint32_t> found;
  sqlite::wal_checksum chain = header_->checksum;
  std::uint32_t frame = 0;
  for (bool valid = true; valid;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t got,
                                file_->read_at(buffer, sqlite::frame_offset(frame + 1, header_->page_size)));
    valid = got == buffer.size();
    for (std::size_t at = 0; at + one <= got; at += one) {
      const auto bytes = std::span(buffer).subspan(at, one);
      const auto head = sqlite::parse_frame_header(bytes.first<sqlite::wal_frame_header_bytes>());
      const auto page = bytes.subspan(sqlite::wal_frame_header_bytes);
      if (head.page_number == 0 || head.salt != header_->salt) {
        valid = false;
        break;
      }
      chain = sqlite::frame_checksum(chain, bytes, page, header_->big_endian_checksum);
      if (chain != head.checksum) {
        valid = false;
        break;
      }
      ++frame;
      found.push_back(head.page_number);
      if (head.commit_pages == 0) continue;
      end_ = {frame, chain, head.commit_pages};
      commits_.emplace_back(frame, head.commit_pages);
    }
  }
  const bool unfinished = frame > end_.frame;
  last_commit_ = tail_ = end_;
  found.resize(end_.frame);
  pages_ = std::move(found);
  for (std::uint32_t i = 0; i < end_.frame; ++i) index_[pages_[i]] = i + 1;
  if (read_only_) return absl::OkStatus();
  if (unfinished) {
    constexpr std::array<std::byte, sqlite::wal_frame_header_bytes> zeros{};
    UNDERSTUDY_RETURN_IF_ERROR(
        file_->write_at(zeros, sqlite::frame_offset(end_.frame + 1, header_->page_size)));
  }
  // What a killed process had written and not synced is visible now, and is what the next transaction builds
  // on.
  return file_->sync_data();
}

absl::StatusOr<bool> copy_wal::is_untouched() {
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, file_->status());
  if (s.st_nlink == 0 || static_cast<std::uint64_t>(s.st_size) < reserved_) return false;
  std::array<std::byte, sqlite::wal_header_bytes> head{};
  UNDERSTUDY_RETURN_IF_ERROR(file_->read_at(head, 0).status());
  if (!header_) return !sqlite::parse_wal_header(head).has_value();
  if (head != header_bytes_) return false;
  std::vector<std::byte> frame(frame_bytes());
  const std::uint64_t next = sqlite::frame_offset(last_commit_.frame + 1, header_->page_size);
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, file_->read_at(frame, next));
  const auto bytes = std::span(frame).first<sqlite::wal_frame_header_bytes>();
  if (has_uncommitted())
    return n == frame.size() && std::equal(bytes.begin(), bytes.end(), first_uncommitted_.begin());
  const auto parsed = sqlite::parse_frame_header(bytes);
  if (n < frame.size() || parsed.page_number == 0 || parsed.salt != header_->salt) return true;
  // Remains of a transaction of ours that was dropped do not continue the chain; what another program
  // appended does.
  const auto page = std::span(frame).subspan(sqlite::wal_frame_header_bytes);
  return sqlite::frame_checksum(last_commit_.chain, bytes, page, header_->big_endian_checksum) !=
         parsed.checksum;
}

absl::Status copy_wal::make_header(std::uint32_t page_size) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::uint32_t first, random_word());
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::uint32_t second, random_word());
  sqlite::wal_header made{
      .big_endian_checksum = std::endian::native == std::endian::big,
      .page_size = page_size,
      .checkpoint_sequence = header_ ? header_->checkpoint_sequence + 1 : 0,
      .salt = {header_ ? header_->salt[0] + 1 : first, second},
      .checksum = {},
  };
  header_bytes_ = sqlite::encode(made);
  header_ = made;
  forget_frames();
  return file_->write_at(header_bytes_, 0);
}

absl::Status copy_wal::reserve(std::uint64_t size) {
  if (size <= reserved_) return absl::OkStatus();
  if (size - reserved_ < chunk_bytes) {
    const std::uint64_t target = (size + chunk_bytes - 1) / chunk_bytes * chunk_bytes;
    const std::vector<std::byte> zeros(target - reserved_);
    UNDERSTUDY_RETURN_IF_ERROR(file_->write_at(zeros, reserved_));
    reserved_ = target;
  }
  return absl::OkStatus();
}

absl::Status copy_wal::write(std::span<const unwritten_frame> frames, std::uint32_t page_size) {
  if (frames.empty()) return absl::OkStatus();
  // Without a header what lies behind it is invalid, durably (clear() and recover()), so it may go with the
  // frames.
  if (!header_) UNDERSTUDY_RETURN_IF_ERROR(make_header(page_size));
  const std::uint64_t offset = sqlite::frame_offset(tail_.frame + 1, page_size);
  std::vector<std::byte> encoded(frames.size() * frame_bytes());
  position tail = tail_;
  position commit = last_commit_;
  std::byte* out = encoded.data();
  for (const unwritten_frame& f : frames) {
    const auto page = std::as_bytes(std::span(f.bytes));
    const auto head = sqlite::encode_frame_header(f.page, f.commit_pages, header_->salt, page,
                                                  header_->big_endian_checksum, tail.chain);
    if (tail.frame == commit.frame) first_uncommitted_ = head;
    ++tail.frame;
    if (f.commit_pages != 0) {
      tail.database_pages = f.commit_pages;
      commit = tail;
    }
    std::memcpy(out, head.data(), head.size());
    std::memcpy(out + head.size(), page.data(), page.size());
    out += frame_bytes();
  }
  UNDERSTUDY_RETURN_IF_ERROR(reserve(offset + encoded.size()));
  UNDERSTUDY_RETURN_IF_ERROR(file_->write_at(encoded, offset));
  reserved_ = std::max(reserved_, offset + encoded.size());
  for (const unwritten_frame& f : frames) {
    pages_.push_back(f.page);
    if (f.commit_pages != 0) commits_.emplace_back(static_cast<std::uint32_t>(pages_.size()), f.commit_pages);
  }
  tail_ = tail;
  last_commit_ = commit;
  return absl::OkStatus();
}

absl::Status copy_wal::sync() {
  UNDERSTUDY_RETURN_IF_ERROR(file_->sync_data());
  for (std::uint32_t i = end_.frame; i < last_commit_.frame; ++i) index_[pages_[i]] = i + 1;
  end_ = last_commit_;
  return absl::OkStatus();
}

absl::Status copy_wal::drop_uncommitted() {
  if (!has_uncommitted()) return absl::OkStatus();
  constexpr std::array<std::byte, sqlite::wal_frame_header_bytes> zeros{};
  UNDERSTUDY_RETURN_IF_ERROR(
      file_->write_at(zeros, sqlite::frame_offset(last_commit_.frame + 1, header_->page_size)));
  tail_ = last_commit_;
  pages_.resize(tail_.frame);
  return absl::OkStatus();
}

std::optional<std::uint32_t> copy_wal::find(std::uint32_t page) const {
  const auto found = index_.find(page);
  if (found == index_.end()) return std::nullopt;
  return found->second;
}

std::unordered_map<std::uint32_t, std::uint32_t> copy_wal::newest(std::uint32_t after,
                                                                  std::uint32_t upto) const {
  std::unordered_map<std::uint32_t, std::uint32_t> result;
  for (std::uint32_t frame = after + 1; frame <= upto; ++frame) result[pages_[frame - 1]] = frame;
  return result;
}

absl::Status copy_wal::read_page(std::uint32_t frame, std::span<std::byte> page) {
  const std::uint64_t at = sqlite::frame_offset(frame, header_->page_size) + sqlite::wal_frame_header_bytes;
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, file_->read_at(page, at));
  return n == page.size() ? absl::OkStatus() : absl::DataLossError("the copy's -wal was cut short");
}

absl::Status copy_wal::restart() {
  if (!header_) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(make_header(header_->page_size));
  UNDERSTUDY_RETURN_IF_ERROR(file_->sync_data());
  if (reserved_ > kept_bytes) {
    UNDERSTUDY_RETURN_IF_ERROR(file_->truncate(kept_bytes));
    reserved_ = kept_bytes;
  }
  return absl::OkStatus();
}

absl::Status copy_wal::clear() {
  header_.reset();
  header_bytes_ = {};
  forget_frames();
  UNDERSTUDY_RETURN_IF_ERROR(file_->write_at(header_bytes_, 0));
  reserved_ = std::max<std::uint64_t>(reserved_, header_bytes_.size());
  return file_->sync_data();
}

}  // namespace understudy::replica
