#pragma once

// A file source and a file sink in one process, joined by queues that the test moves; and the comparison of
// two trees down to the nanosecond.

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent-failover/replica/tree/file_sink_session.hpp"
#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "agent-primary/files/file_source_session.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/xattrs.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/wait.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::test {

struct tree_item {
  struct ::stat status {};
  std::string content;  // or target
  files::attribute_map attributes;
};

inline void read_tree(const std::string& root, const std::string& path,
                      std::map<std::string, tree_item>& items) {
  const std::string here = path.empty() ? root : root + "/" + path;
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(here.c_str()), &::closedir);
  if (stream == nullptr) return;
  while (const dirent* found = ::readdir(stream.get())) {
    const std::string name = found->d_name;
    if (name == "." || name == ".." || (path.empty() && name == files::reserved_name)) continue;
    const std::string below = files::join(path, name);
    tree_item item;
    if (::lstat((root + "/" + below).c_str(), &item.status) != 0) continue;
    item.attributes = files::read_attributes_at(::dirfd(stream.get()), name);
    if (S_ISREG(item.status.st_mode)) {
      std::ifstream in(root + "/" + below, std::ios::binary);
      item.content.assign(std::istreambuf_iterator<char>(in), {});
    } else if (S_ISLNK(item.status.st_mode)) {
      item.content = std::filesystem::read_symlink(root + "/" + below).native();
    }
    const bool is_directory = S_ISDIR(item.status.st_mode);
    items.emplace(below, std::move(item));
    if (is_directory) read_tree(root, below, items);
  }
}

// What differs, one line each; empty: the trees are the same in every respect.
inline std::vector<std::string> tree_differences(const std::string& a, const std::string& b) {
  std::map<std::string, tree_item> left;
  std::map<std::string, tree_item> right;
  read_tree(a, "", left);
  read_tree(b, "", right);
  std::vector<std::string> found;
  std::map<ino_t, ino_t> links;
  for (const auto& [path, item] : left) {
    const auto say = [&, shown = files::printable(path)](const std::string& what) {
      found.push_back(shown + ": " + what);
    };
    const auto at = right.find(path);
    if (at == right.end()) {
      say("missing");
      continue;
    }
    const struct ::stat& x = item.status;
    const struct ::stat& y = at->second.status;
    if ((x.st_mode & S_IFMT) != (y.st_mode & S_IFMT)) {
      say("kind");
      continue;
    }
    if (x.st_mode != y.st_mode) say("mode");
    if (x.st_uid != y.st_uid || x.st_gid != y.st_gid) say("owner");
    if (files::to_nanoseconds(x.st_mtim) != files::to_nanoseconds(y.st_mtim)) say("mtime");
    if (item.content != at->second.content) say("content");
    if (item.attributes != at->second.attributes) say("attributes");
    if (S_ISREG(x.st_mode)) {
      if (x.st_nlink != y.st_nlink) say("number of links");
      if (x.st_nlink > 1 && links.try_emplace(x.st_ino, y.st_ino).first->second != y.st_ino)
        say("linked otherwise");
    }
  }
  for (const auto& [path, item] : right) {
    if (!left.contains(path)) found.push_back(files::printable(path) + ": not deleted");
  }
  return found;
}

inline files::selection everything_in(const std::string& base) {
  return {.base = base,
          .include = {{.subdirectory = ".", .types = {"*"}, .recursive = true, .ignore_case = false}},
          .exclude_databases = {}};
}

// In memory where that can be: these tests sync thousands of times, and what a disk makes of it is not their
// matter.
inline std::unique_ptr<temporary_directory> directory_in_memory() {
  const char* set = std::getenv("TMPDIR");
  const bool use_memory = set == nullptr && ::access("/dev/shm", W_OK | X_OK) == 0;
  if (use_memory) ::setenv("TMPDIR", "/dev/shm", 1);
  auto made = std::make_unique<temporary_directory>();
  if (use_memory) ::unsetenv("TMPDIR");
  return made;
}

class file_pair {
 public:
  explicit file_pair(files::tree_watcher_options watcher = {}) {
    std::filesystem::create_directories(base());
    source_options.what = everything_in(base());
    source_options.watcher = std::move(watcher);
    // The same tests, watched in the other way.
    if (std::getenv("UNDERSTUDY_TEST_FANOTIFY") != nullptr)
      source_options.watcher.way = files::tree_watcher_options::watching::fanotify_first;
    sink_options = {.tree = copy(),
                    .beside = directory_->path(),
                    .name = "files-0",
                    .what = everything_in(base()),
                    .trash = {}};
  }

  std::string base() const { return directory_->path() + "/base"; }
  std::string copy() const { return directory_->path() + "/root/base"; }

  void start_source() {
    auto started = files::file_source::start(source_options);
    ASSERT_TRUE(started.ok()) << message_of(started.status());
    source = *started;
  }
  void connect(os::file_system& fs = os::posix_file_system()) {
    if (source == nullptr) start_source();
    ASSERT_NE(source, nullptr);
    disconnect();
    if (sink == nullptr) {
      auto opened = files::file_tree_sink::open(fs, sink_options);
      ASSERT_TRUE(opened.ok()) << message_of(opened.status());
      sink = std::move(*opened);
    }
    sending = std::make_unique<files::file_source_session>(source, [] {});
    receiving = std::make_unique<files::file_sink_session>(
        *sink, [this](v1::FilesSinkMessage&& m) { to_source.push_back(std::move(m)); });
    const absl::Status started = receiving->start();
    ASSERT_TRUE(started.ok()) << message_of(started);
  }
  void disconnect() {
    sending.reset();
    receiving.reset();
    to_source.clear();
  }
  // Moves what there is; the status that ended the stream, if one did.
  absl::Status step(bool& moved) {
    moved = false;
    while (!to_source.empty()) {
      v1::FilesSinkMessage m = std::move(to_source.front());
      to_source.pop_front();
      moved = true;
      if (falsify) falsify(m);
      for (const auto& part : m.directories().listings())
        listed += static_cast<std::size_t>(part.entries_size());
      if (absl::Status s = sending->receive(std::move(m)); !s.ok()) return s;
    }
    for (int i = 0; i < 32; ++i) {
      auto m = sending->next();
      if (!m.ok()) return m.status();
      if (!*m) break;
      moved = true;
      bytes_sent += (*m)->ByteSizeLong();
      for (const v1::FileChange& c : (*m)->batch().changes()) ++changes[c.change_case()];
      if ((*m)->has_drained()) drained = true;
      if (absl::Status s = receiving->receive(std::move(**m)); !s.ok()) return s;
    }
    return receiving->flush();
  }
  // Everything there is now, durable on the copy. Reconnects when the stream asks for it.
  absl::Status settle(std::chrono::seconds within = std::chrono::seconds{30}) {
    drained = false;
    receiving->drain();
    const auto deadline = std::chrono::steady_clock::now() + within;
    while (!drained) {
      bool moved = false;
      const absl::Status stepped = step(moved);
      if (absl::IsAborted(stepped)) {
        connect();
        receiving->drain();
        continue;
      }
      if (!stepped.ok()) return stepped;
      if (std::chrono::steady_clock::now() > deadline) return absl::DeadlineExceededError("not drained");
      if (!moved) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return absl::OkStatus();
  }
  // What both ends have under the names in `different`, and whether another drain mends it.
  std::string described(const std::vector<std::string>& different) {
    std::string text;
    for (const std::string& one : different) {
      const std::string path = one.substr(0, one.find(": "));
      for (const std::string& top : {base(), copy()}) {
        struct ::stat s {};
        if (::lstat((top + "/" + path).c_str(), &s) != 0) continue;
        text += fmt::format("{}/{}: mode {:o}, {} bytes, {} names, modified {}.{:09}, changed {}.{:09}\n",
                            top, path, s.st_mode, s.st_size, s.st_nlink, s.st_mtim.tv_sec, s.st_mtim.tv_nsec,
                            s.st_ctim.tv_sec, s.st_ctim.tv_nsec);
      }
    }
    if (!different.empty() && settle().ok()) {
      const auto left = tree_differences(base(), copy()).size();
      text += fmt::format("after another drain {} of {} are left\n", left, different.size());
    }
    return text;
  }
  void expect_same() {
    const absl::Status settled = settle();
    ASSERT_TRUE(settled.ok()) << message_of(settled) << " " << sending->progress().reason;
    const std::vector<std::string> different = tree_differences(base(), copy());
    EXPECT_EQ(different, std::vector<std::string>{}) << described(different);
    // From here on only events tell: the watcher has begun, and its first "everything" has been looked at.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    const bool by_scans = source_options.watcher.most_watches > 0;
    while (!by_scans && !(source->is_watching() && source->dirty().empty())) {
      bool moved = false;
      const absl::Status stepped = step(moved);
      ASSERT_TRUE(stepped.ok()) << message_of(stepped);
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      if (!moved) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  }

  // By events only, without the scan that settle() asks for.
  void follow_until_same() {
    ASSERT_TRUE(wait_until(
        [&] {
          bool moved = false;
          const absl::Status stepped = step(moved);
          EXPECT_TRUE(stepped.ok()) << message_of(stepped);
          return !moved && tree_differences(base(), copy()).empty();
        },
        std::chrono::seconds{30}))
        << ::testing::PrintToString(tree_differences(base(), copy()));
  }

  void write(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(base() + "/" + path).parent_path());
    std::ofstream(base() + "/" + path, std::ios::binary) << content;
  }
  std::string at(const std::string& path) const { return base() + "/" + path; }

  std::unique_ptr<temporary_directory> directory_ = directory_in_memory();
  files::file_source_options source_options;
  files::tree_sink_options sink_options;
  std::shared_ptr<files::file_source> source;
  std::unique_ptr<files::file_tree_sink> sink;
  std::unique_ptr<files::file_source_session> sending;
  std::unique_ptr<files::file_sink_session> receiving;
  std::deque<v1::FilesSinkMessage> to_source;
  std::function<void(v1::FilesSinkMessage&)>
      falsify;                 // what the receiver says, before it arrives; may be empty
  std::map<int, int> changes;  // by v1::FileChange::ChangeCase
  std::size_t bytes_sent = 0;
  std::size_t listed = 0;  // entries that the receiver listed of directories that differ
  bool drained = false;
};

}  // namespace understudy::test
