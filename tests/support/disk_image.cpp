#include "tests/support/disk_image.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::test {
namespace {

constexpr std::uint64_t sector_bytes = 512;  // what a disk writes whole or not at all

// The sectors of a write that survived, each for itself.
void apply_torn(const pending_write& w, std::string& content, std::mt19937_64& random) {
  for (std::uint64_t at = w.offset; at < w.offset + w.bytes.size();) {
    const std::uint64_t end = std::min((at / sector_bytes + 1) * sector_bytes, w.offset + w.bytes.size());
    if (random() % 2 == 0) {
      if (content.size() < end) content.resize(end);
      std::memcpy(content.data() + at, w.bytes.data() + (at - w.offset), end - at);
    }
    at = end;
  }
}

}  // namespace

void apply_change(const pending_change& change, std::string& content, attributes& attribute) {
  if (const auto* w = std::get_if<pending_write>(&change)) {
    if (content.size() < w->offset + w->bytes.size()) content.resize(w->offset + w->bytes.size());
    std::memcpy(content.data() + w->offset, w->bytes.data(), w->bytes.size());
  } else if (const auto* t = std::get_if<pending_truncate>(&change)) {
    content.resize(t->size);
  } else if (const auto* e = std::get_if<pending_extend>(&change)) {
    if (content.size() < e->size) content.resize(e->size);
  } else {
    attribute = std::get<attributes>(change);
  }
}

attributes attributes_of(const struct ::stat& s) {
  return {.mode = s.st_mode & 07777, .uid = s.st_uid, .gid = s.st_gid, .modification = s.st_mtim};
}

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inode_ptr copy_tree(const inode_ptr& node, std::map<const inode*, inode_ptr>& copies) {
  auto& copy = copies[node.get()];
  if (copy == nullptr) {
    copy = std::make_shared<inode>(*node);
    for (auto& [name, child] : copy->entries) child = copy_tree(child, copies);
  }
  return copy;
}

absl::Status write_node(const inode& node, const std::filesystem::path& path, unsynced policy,
                        std::mt19937_64& random, std::map<const inode*, std::filesystem::path>& written) {
  if (const auto earlier = written.find(&node); earlier != written.end()) {
    std::filesystem::create_hard_link(earlier->second, path);
    return absl::OkStatus();
  }
  written[&node] = path;
  if (node.type == S_IFLNK) {
    std::filesystem::create_symlink(node.symlink_target, path);
    return absl::OkStatus();
  }
  std::string content;
  attributes attribute = node.durable_attributes;
  if (node.type == S_IFREG) content = node.durable ? *node.durable : read_all(node.real_path);
  for (const auto& change : node.pending) {
    if (policy == unsynced::lost) break;
    if (policy == unsynced::torn && std::holds_alternative<pending_write>(change)) {
      apply_torn(std::get<pending_write>(change), content, random);
    } else if (policy == unsynced::kept || random() % 2 == 0) {
      apply_change(change, content, attribute);
    }
  }
  if (node.type == S_IFREG) {
    std::ofstream(path, std::ios::binary) << content;
  } else {
    std::filesystem::create_directories(path);
    for (const auto& [name, child] : node.entries) {
      UNDERSTUDY_RETURN_IF_ERROR(write_node(*child, path / name, policy, random, written));
    }
  }
  const struct ::timespec times[2] = {attribute.modification, attribute.modification};
  if (::chown(path.c_str(), attribute.uid, attribute.gid) != 0 ||
      ::chmod(path.c_str(), attribute.mode) != 0 || ::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) {
    return errno_status(errno, "restore attributes of", path.string());
  }
  return absl::OkStatus();
}

}  // namespace understudy::test
