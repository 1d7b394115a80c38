#pragma once

// What the measurements of files share: a tree with its copy, and a stream from a real agent into it.

#include <fcntl.h>
#include <grpcpp/channel.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "agent-failover/replica/tree/files_stream.hpp"
#include "common/os/file_system.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/figure.hpp"
#include "tests/support/wait.hpp"

namespace understudy::bench {

using files::files_progress;

inline void write_file(const std::string& path, std::size_t bytes, bool synced = false) {
  const std::string content(bytes, 'x');
  const os::unique_fd file(::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644));
  if (::write(file.value(), content.data(), bytes) != static_cast<ssize_t>(bytes)) give_up("write " + path);
  if (synced && ::fsync(file.value()) != 0) give_up("fsync " + path);
}

inline void make_tree(const std::string& at, int count, int in_each_directory, std::size_t bytes,
                      bool synced = false) {
  for (int i = 0; i < count; ++i) {
    const std::string directory = fmt::format("{}/d{}", at, i / in_each_directory);
    if (i % in_each_directory == 0) std::filesystem::create_directories(directory);
    write_file(fmt::format("{}/{}", directory, i), bytes, synced);
  }
}

inline void shell(const std::string& command) {
  if (std::system(command.c_str()) != 0) give_up(command);
}

// A tree on the agent's side, and its copy.
class file_tree {
 public:
  explicit file_tree(std::string directory) : directory_(std::move(directory)) {
    std::filesystem::create_directories(base());
  }
  std::string base() const { return directory_ + "/base"; }
  std::string copy() const { return directory_ + "/root/base"; }
  std::string protects() const {
    return fmt::format(
        "[[files]]\nbase = \"{}\"\ninclude = [{{ subdirectory = \".\", types = [\"*\"], recursive = true "
        "}}]\n",
        base());
  }
  std::shared_ptr<files::file_tree_sink> open_sink() const {
    files::tree_sink_options options;
    options.tree = copy();
    options.beside = directory_;
    options.name = "files-0";
    options.what.base = base();
    options.what.include = {{.subdirectory = ".", .types = {"*"}, .recursive = true, .ignore_case = false}};
    auto opened = files::file_tree_sink::open(os::posix_file_system(), std::move(options));
    if (!opened.ok()) give_up(std::string(message_of(opened.status())));
    return *std::move(opened);
  }

 private:
  std::string directory_;
};

class files_link {
 public:
  files_link(const std::shared_ptr<grpc::Channel>& agent, std::shared_ptr<files::file_tree_sink> sink)
      : stream_(files::start_files_replication(agent, 0, std::move(sink), {})) {
    wait_for(files_progress::phase::streaming);
  }
  void wait_for(files_progress::phase phase) const {
    if (!test::wait_until([&] { return progress().now == phase; }, std::chrono::minutes{10}))
      give_up("the file stream: " + progress().reason);
  }
  void drain() { stream_->drain(); }
  files_progress progress() const { return stream_->progress(); }

 private:
  std::unique_ptr<files::files_stream> stream_;
};

}  // namespace understudy::bench
