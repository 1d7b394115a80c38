#pragma once

// The mounts that give a host its own directories under the paths everybody else uses.

#include <filesystem>
#include <string>
#include <vector>

namespace understudy::test {

// One step, carried out inside the host's new mount namespace with nothing but system calls.
struct mount_step {
  enum class kind {
    bind,           // `from` (with what is mounted below) appears at `to`
    detach,         // `to` is unmounted
    proc,           // a fresh /proc at `to`; not fatal where the outer one is masked
    sysfs,          // a fresh /sys at `to`, showing the host's own adapters; not fatal
    optional_bind,  // as bind; not fatal
  };
  kind what = kind::bind;
  std::string from;
  std::string to;
};

// The steps that bind each of `directories` to the directory of the same name under `root`, which is created.
// Where a directory does not exist on this machine it is not made here: its nearest existing parent is
// replaced, inside the host, by a copy of links to the same entries, kept under `scratch`.
std::vector<mount_step> private_tree_steps(const std::vector<std::filesystem::path>& directories,
                                           const std::filesystem::path& root,
                                           const std::filesystem::path& scratch);

// Carries them out; async-signal-safe. The failed step's index, or -1 (then errno is of no interest).
int run_mount_steps(const std::vector<mount_step>& steps);

}  // namespace understudy::test
