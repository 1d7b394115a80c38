#include "tests/support/lab/private_tree.hpp"

#include <sys/mount.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "tests/support/lab/command.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

fs::path below(const fs::path& root, const fs::path& absolute) {
  return root / absolute.relative_path();
}

bool is_below(const fs::path& path, const fs::path& parent) {
  return std::mismatch(parent.begin(), parent.end(), path.begin(), path.end()).first == parent.end();
}

fs::path nearest_existing(fs::path path) {
  while (!fs::exists(path)) path = path.parent_path();
  return path;
}

// `stage` becomes a directory with an entry for each of `original`'s; the steps bind the entries to the real
// ones.
void mirror(const fs::path& original, const fs::path& stage, const fs::path& aside,
            std::vector<mount_step>& steps) {
  fs::create_directories(stage);
  fs::create_directories(aside);
  using kind = mount_step::kind;
  steps.push_back({kind::bind, original, aside});
  steps.push_back({kind::bind, stage, original});
  for (const auto& entry : fs::directory_iterator(original)) {
    const fs::path name = entry.path().filename();
    if (entry.is_symlink()) {
      if (!fs::is_symlink(stage / name)) fs::copy_symlink(entry.path(), stage / name);
      continue;
    }
    if (entry.is_directory())
      fs::create_directories(stage / name);
    else
      std::ofstream(stage / name, std::ios::app);
    steps.push_back({kind::optional_bind, aside / name, original / name});
  }
  steps.push_back({kind::detach, "", aside});
}

}  // namespace

std::vector<mount_step> private_tree_steps(const std::vector<fs::path>& directories, const fs::path& root,
                                           const fs::path& scratch) {
  std::vector<mount_step> steps;
  std::map<fs::path, std::vector<fs::path>> missing;  // by nearest existing parent
  std::vector<fs::path> order;
  for (const fs::path& given : directories) {
    const fs::path directory = given.lexically_normal();
    if (!directory.is_absolute()) fail(directory.string() + " is not absolute");
    fs::create_directories(below(root, directory));
    order.push_back(directory);
    const bool inside_another =
        std::any_of(directories.begin(), directories.end(),
                    [&](const fs::path& other) { return other != given && is_below(directory, other); });
    if (!fs::is_directory(directory) && !inside_another)
      missing[nearest_existing(directory)].push_back(directory);
  }
  for (const auto& [parent, wanted] : missing) {
    if (parent == parent.root_path())
      fail("a private directory needs an existing parent: " + wanted.front().string());
    const fs::path stage = below(scratch / "stage", parent);
    mirror(parent, stage, below(scratch / "aside", parent), steps);
    for (const fs::path& directory : wanted)
      fs::create_directories(stage / directory.lexically_relative(parent));
  }
  // Parents before what lies in them; the one that hides the sources themselves (/tmp) last of all.
  std::sort(order.begin(), order.end());
  std::stable_partition(order.begin(), order.end(),
                        [&](const fs::path& one) { return !is_below(root, one); });
  for (const fs::path& directory : order)
    steps.push_back({mount_step::kind::bind, below(root, directory), directory});
  return steps;
}

int run_mount_steps(const std::vector<mount_step>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const mount_step& step = steps[i];
    int result = 0;
    switch (step.what) {
      case mount_step::kind::bind:
        result = ::mount(step.from.c_str(), step.to.c_str(), nullptr, MS_BIND | MS_REC, nullptr);
        break;
      case mount_step::kind::optional_bind:
        (void)::mount(step.from.c_str(), step.to.c_str(), nullptr, MS_BIND | MS_REC, nullptr);
        break;
      case mount_step::kind::detach:
        result = ::umount2(step.to.c_str(), MNT_DETACH);
        break;
      case mount_step::kind::proc:
        (void)::mount("proc", step.to.c_str(), "proc", 0, nullptr);
        break;
      case mount_step::kind::sysfs:
        (void)::mount("sysfs", step.to.c_str(), "sysfs", 0, nullptr);
        break;
    }
    if (result != 0) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace understudy::test
