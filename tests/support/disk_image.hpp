#pragma once

// What a disk holds, and what is on the way to it: files and directories as they are durable, each with the
// changes that no sync has covered yet. faulty_file_system records them; after the power cut some of them
// survive.

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "tests/support/faulty_file_system.hpp"

namespace understudy::test {

struct attributes {
  mode_t mode = 0640;
  uid_t uid = 0;
  gid_t gid = 0;
  struct ::timespec modification {};
};

// A change of a file that no sync has made durable yet, in the order in which it was made.
struct pending_write {
  std::uint64_t offset = 0;
  std::string bytes;
};
struct pending_truncate {
  std::uint64_t size = 0;
};
struct pending_extend {
  std::uint64_t size = 0;
};
using pending_change = std::variant<pending_write, pending_truncate, pending_extend, attributes>;

// A file, directory or symlink, as the disk knows it.
struct inode {
  mode_t type = S_IFREG;
  std::string real_path;               // regular files without `durable`: where the content still lies
  std::optional<std::string> durable;  // loaded before the first change
  attributes durable_attributes;
  std::vector<pending_change> pending;
  std::string symlink_target;
  std::map<std::string, std::shared_ptr<inode>> entries;  // directories: durable entries
};

using inode_ptr = std::shared_ptr<inode>;

// A change of directory entries that no sync has made durable yet.
struct pending_entry {
  inode_ptr directory;
  std::string name;
  inode_ptr target;  // null: the entry is removed
};
struct pending_step {  // entries that change together (rename)
  std::vector<pending_entry> entries;
};

void apply_change(const pending_change& change, std::string& content, attributes& attribute);
attributes attributes_of(const struct ::stat& s);
std::string read_all(const std::string& path);

// A deep copy of the durable tree's directories, so that pending steps can be applied to it and thrown away.
inode_ptr copy_tree(const inode_ptr& node, std::map<const inode*, inode_ptr>& copies);

// Makes `node` with all below it at `path`, its pending changes as `policy` says. `written`: inodes that have
// a name already.
absl::Status write_node(const inode& node, const std::filesystem::path& path, unsynced policy,
                        std::mt19937_64& random, std::map<const inode*, std::filesystem::path>& written);

}  // namespace understudy::test
