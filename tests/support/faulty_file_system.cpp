#include "tests/support/faulty_file_system.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "common/os/relative_path.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "tests/support/disk_image.hpp"

namespace understudy::test {

// st_ino alone would be taken for the same file after a removal and a creation.
using identity = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, std::uint32_t>;

struct faulty_file_system::state {
  mutable std::mutex mutex;
  std::string real_root;
  std::unique_ptr<os::directory> real_directory;
  inode_ptr root;
  std::map<identity, inode_ptr> inodes;
  std::vector<pending_step> steps;
  std::uint64_t sync_points = 0;
  std::uint64_t operations = 0;
  std::uint64_t cut_at_sync = 0;
  std::uint64_t cut_at_operation = 0;
  bool cut = false;

  static absl::Status dead() { return absl::UnavailableError("the power is cut"); }

  absl::Status read_allowed() const { return cut ? dead() : absl::OkStatus(); }
  absl::Status change_allowed() {
    if (cut) return dead();
    if (++operations == cut_at_operation) cut = true;
    return read_allowed();
  }
  absl::Status sync_allowed() {
    UNDERSTUDY_RETURN_IF_ERROR(change_allowed());
    if (++sync_points == cut_at_sync) cut = true;
    return read_allowed();
  }

  static absl::StatusOr<identity> identify(int at, const std::string& path) {
    struct ::statx s {};
    if (::statx(at, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &s) != 0) {
      return errno_status(errno, "statx", path);
    }
    return identity{makedev(s.stx_dev_major, s.stx_dev_minor), s.stx_ino, s.stx_btime.tv_sec,
                    s.stx_btime.tv_nsec};
  }

  // The inode at `path` below the directory descriptor; made known when another program created it.
  absl::StatusOr<inode_ptr> find(int at, const std::string& path) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const identity id, identify(at, path));
    if (const auto known = inodes.find(id); known != inodes.end()) return known->second;
    struct ::stat s {};
    if (::fstatat(at, path.c_str(), &s, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
      return errno_status(errno, "lstat", path);
    }
    auto made = std::make_shared<inode>();
    made->type = s.st_mode & S_IFMT;
    made->durable_attributes = attributes_of(s);
    made->real_path = fmt::format("/proc/self/fd/{}/{}", at, path);
    if (made->type == S_IFREG) made->durable = read_all(made->real_path);
    inodes[id] = made;
    return made;
  }

  // The same for a path that the caller just created: nothing of it is durable.
  absl::StatusOr<inode_ptr> created(int at, const std::string& path, mode_t type) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const identity id, identify(at, path));
    struct ::stat s {};
    if (::fstatat(at, path.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) return errno_status(errno, "lstat", path);
    auto made = std::make_shared<inode>();
    made->type = type;
    made->durable = std::string();
    made->durable_attributes = attributes_of(s);
    inodes[id] = made;
    return made;
  }

  void scan(const std::string& path, const inode_ptr& directory) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      struct ::stat s {};
      if (::lstat(entry.path().c_str(), &s) != 0) continue;
      const auto id = identify(AT_FDCWD, entry.path().string());
      if (!id.ok()) continue;
      auto& known = inodes[*id];
      if (known == nullptr) {
        known = std::make_shared<inode>();
        known->type = s.st_mode & S_IFMT;
        known->durable_attributes = attributes_of(s);
        if (known->type == S_IFREG) known->real_path = entry.path().string();
        if (known->type == S_IFLNK)
          known->symlink_target = std::filesystem::read_symlink(entry.path()).string();
        if (known->type == S_IFDIR) scan(entry.path().string(), known);
      }
      directory->entries[entry.path().filename().string()] = known;
    }
  }

  static void load(inode& node) {
    if (!node.durable) node.durable = read_all(node.real_path);
  }

  static void load_below(inode& node) {
    if (node.type == S_IFREG) load(node);
    for (const auto& [name, child] : node.entries) load_below(*child);
  }

  static void make_durable(inode& node) {
    if (node.type == S_IFREG) load(node);
    std::string none;
    for (const auto& change : node.pending) {
      apply_change(change, node.durable ? *node.durable : none, node.durable_attributes);
    }
    node.pending.clear();
  }

  static void apply_step(const pending_step& step) {
    for (const auto& e : step.entries) {
      if (e.target != nullptr) {
        e.directory->entries[e.name] = e.target;
      } else {
        e.directory->entries.erase(e.name);
      }
    }
  }

  void make_directory_durable(const inode_ptr& directory) {
    make_durable(*directory);
    std::vector<pending_step> left;
    for (auto& step : steps) {
      const bool here = std::any_of(step.entries.begin(), step.entries.end(),
                                    [&](const pending_entry& e) { return e.directory == directory; });
      if (here) {
        apply_step(step);
      } else {
        left.push_back(std::move(step));
      }
    }
    steps = std::move(left);
  }
};

namespace {

using state = faulty_file_system::state;

class faulty_file final : public os::file {
 public:
  faulty_file(std::unique_ptr<os::file> real, inode_ptr node, std::shared_ptr<state> s)
      : real_(std::move(real)), node_(std::move(node)), state_(std::move(s)) {}

  absl::StatusOr<std::size_t> read_at(std::span<std::byte> buffer, std::uint64_t offset) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    return real_->read_at(buffer, offset);
  }
  absl::Status write_at(std::span<const std::byte> data, std::uint64_t offset) override {
    return change([&] { return real_->write_at(data, offset); },
                  pending_write{offset, {reinterpret_cast<const char*>(data.data()), data.size()}});
  }
  absl::Status truncate(std::uint64_t size) override {
    return change([&] { return real_->truncate(size); }, pending_truncate{size});
  }
  absl::Status allocate(std::uint64_t offset, std::uint64_t length) override {
    return change([&] { return real_->allocate(offset, length); }, pending_extend{offset + length});
  }
  absl::Status clone_from(os::file& source, const os::copy_progress& progress) override {
    std::string content;
    std::vector<std::byte> buffer(1 << 20);
    for (;;) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, source.read_at(buffer, content.size()));
      if (n == 0) break;
      content.append(reinterpret_cast<const char*>(buffer.data()), n);
      if (progress && !progress(content.size(), content.size()))
        return absl::CancelledError("the copy was given up");
    }
    UNDERSTUDY_RETURN_IF_ERROR(truncate(0));
    return write_at(std::as_bytes(std::span(content)), 0);
  }
  absl::Status sync_data() override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->sync_allowed());
    state::make_durable(*node_);
    return absl::OkStatus();
  }
  absl::StatusOr<struct ::stat> status() override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    return real_->status();
  }
  absl::Status set_mode(mode_t mode) override {
    return change([&] { return real_->set_mode(mode); }, attributes{}, true);
  }
  absl::Status set_owner(uid_t uid, gid_t gid) override {
    return change([&] { return real_->set_owner(uid, gid); }, attributes{}, true);
  }
  absl::Status set_times(const struct ::timespec& access, const struct ::timespec& modification) override {
    return change([&] { return real_->set_times(access, modification); }, attributes{}, true);
  }
  int descriptor() const override { return real_->descriptor(); }

 private:
  template <class Call>
  absl::Status change(Call call, pending_change record, bool of_attributes = false) {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    state::load(*node_);
    UNDERSTUDY_RETURN_IF_ERROR(call());
    if (of_attributes) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, real_->status());
      record = attributes_of(s);
    }
    node_->pending.push_back(std::move(record));
    return absl::OkStatus();
  }

  std::unique_ptr<os::file> real_;
  inode_ptr node_;
  std::shared_ptr<state> state_;
};

class faulty_directory final : public os::directory {
 public:
  faulty_directory(std::unique_ptr<os::directory> real, inode_ptr node, std::shared_ptr<state> s)
      : real_(std::move(real)), node_(std::move(node)), state_(std::move(s)) {}

  absl::StatusOr<std::unique_ptr<os::file>> open(std::string_view path, os::open_mode mode,
                                                 mode_t permissions) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    const bool may_create = mode == os::open_mode::create || mode == os::open_mode::create_new;
    const bool creates = may_create && absl::IsNotFound(real_->status(path).status());
    if (creates) UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    UNDERSTUDY_ASSIGN_OR_RETURN(auto file, real_->open(path, mode, permissions));
    inode_ptr node;
    if (creates) {
      UNDERSTUDY_ASSIGN_OR_RETURN(node, record_creation(path, S_IFREG));
    } else {
      UNDERSTUDY_ASSIGN_OR_RETURN(node, state_->find(real_->descriptor(), std::string(path)));
    }
    return std::make_unique<faulty_file>(std::move(file), std::move(node), state_);
  }

  absl::StatusOr<std::unique_ptr<os::directory>> open_directory(std::string_view path) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    UNDERSTUDY_ASSIGN_OR_RETURN(auto opened, real_->open_directory(path));
    UNDERSTUDY_ASSIGN_OR_RETURN(auto node, state_->find(real_->descriptor(), std::string(path)));
    return std::make_unique<faulty_directory>(std::move(opened), std::move(node), state_);
  }

  absl::Status make_directory(std::string_view path, mode_t permissions) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    UNDERSTUDY_RETURN_IF_ERROR(real_->make_directory(path, permissions));
    return record_creation(path, S_IFDIR).status();
  }

  absl::Status make_symlink(std::string_view target, std::string_view path) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    UNDERSTUDY_RETURN_IF_ERROR(real_->make_symlink(target, path));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto node, record_creation(path, S_IFLNK));
    node->symlink_target = target;
    return absl::OkStatus();
  }

  absl::Status make_hard_link(std::string_view existing, os::directory& to, std::string_view path) override {
    auto& target = static_cast<faulty_directory&>(to);
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    UNDERSTUDY_RETURN_IF_ERROR(real_->make_hard_link(existing, *target.real_, path));
    UNDERSTUDY_ASSIGN_OR_RETURN(auto node, state_->find(real_->descriptor(), std::string(existing)));
    UNDERSTUDY_ASSIGN_OR_RETURN(auto entry, target.entry(path, std::move(node)));
    state_->steps.push_back({{std::move(entry)}});
    return absl::OkStatus();
  }

  absl::Status rename(std::string_view from, os::directory& to, std::string_view path,
                      os::rename_mode mode) override {
    auto& target = static_cast<faulty_directory&>(to);
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    // Refused by the rule before it is looked up, so that both implementations fail alike.
    UNDERSTUDY_RETURN_IF_ERROR(os::check_relative_path(from));
    UNDERSTUDY_RETURN_IF_ERROR(os::check_relative_path(path));
    inode_ptr moved;
    inode_ptr displaced;
    if (auto found = state_->find(real_->descriptor(), std::string(from)); found.ok()) moved = *found;
    if (auto found = state_->find(target.real_->descriptor(), std::string(path)); found.ok())
      displaced = *found;
    // Their content is read where they lie until now.
    for (const auto& node : {moved, displaced})
      if (node != nullptr) state::load_below(*node);
    UNDERSTUDY_RETURN_IF_ERROR(real_->rename(from, *target.real_, path, mode));
    pending_step step;
    UNDERSTUDY_ASSIGN_OR_RETURN(auto gone,
                                entry(from, mode == os::rename_mode::exchange ? displaced : nullptr));
    UNDERSTUDY_ASSIGN_OR_RETURN(auto come, target.entry(path, moved));
    step.entries.push_back(std::move(gone));
    step.entries.push_back(std::move(come));
    state_->steps.push_back(std::move(step));
    return absl::OkStatus();
  }

  absl::Status remove_file(std::string_view path) override {
    return remove([&] { return real_->remove_file(path); }, path);
  }
  absl::Status remove_directory(std::string_view path) override {
    return remove([&] { return real_->remove_directory(path); }, path);
  }

  absl::Status sync() override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->sync_allowed());
    state_->make_directory_durable(node_);
    return absl::OkStatus();
  }

  absl::StatusOr<struct ::stat> status(std::string_view path) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    return real_->status(path);
  }
  absl::StatusOr<std::string> read_symlink(std::string_view path) override {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    return real_->read_symlink(path);
  }
  absl::Status list(const std::function<bool(const os::directory_entry&)>& visit) override {
    {
      const std::scoped_lock lock(state_->mutex);
      UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
    }
    return real_->list(visit);
  }
  absl::Status set_mode(std::string_view path, mode_t mode) override {
    return change_attributes([&] { return real_->set_mode(path, mode); }, path);
  }
  absl::Status set_owner(std::string_view path, uid_t uid, gid_t gid) override {
    return change_attributes([&] { return real_->set_owner(path, uid, gid); }, path);
  }
  absl::Status set_times(std::string_view path, const struct ::timespec& access,
                         const struct ::timespec& modification) override {
    return change_attributes([&] { return real_->set_times(path, access, modification); }, path);
  }
  int descriptor() const override { return real_->descriptor(); }

 private:
  absl::StatusOr<pending_entry> entry(std::string_view path, inode_ptr target) {
    auto [parent, name] = os::split_parent(path);
    inode_ptr parent_node = node_;
    if (!parent.empty()) {
      UNDERSTUDY_ASSIGN_OR_RETURN(parent_node, state_->find(real_->descriptor(), parent));
    }
    return pending_entry{std::move(parent_node), std::move(name), std::move(target)};
  }

  absl::StatusOr<inode_ptr> record_creation(std::string_view path, mode_t type) {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto node, state_->created(real_->descriptor(), std::string(path), type));
    UNDERSTUDY_ASSIGN_OR_RETURN(auto e, entry(path, node));
    state_->steps.push_back({{std::move(e)}});
    return node;
  }

  template <class Call>
  absl::Status remove(Call call, std::string_view path) {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    if (os::check_relative_path(path).ok()) {
      // A file whose content was never loaded must be, before its last name goes.
      if (auto found = state_->find(real_->descriptor(), std::string(path)); found.ok()) {
        if ((*found)->type == S_IFREG) state::load(**found);
      }
    }
    UNDERSTUDY_RETURN_IF_ERROR(call());
    UNDERSTUDY_ASSIGN_OR_RETURN(auto e, entry(path, nullptr));
    state_->steps.push_back({{std::move(e)}});
    return absl::OkStatus();
  }

  template <class Call>
  absl::Status change_attributes(Call call, std::string_view path) {
    const std::scoped_lock lock(state_->mutex);
    UNDERSTUDY_RETURN_IF_ERROR(state_->change_allowed());
    UNDERSTUDY_RETURN_IF_ERROR(call());
    UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, real_->status(path));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto node, state_->find(real_->descriptor(), std::string(path)));
    if (node->type == S_IFREG) state::load(*node);
    node->pending.emplace_back(attributes_of(s));
    return absl::OkStatus();
  }

  std::unique_ptr<os::directory> real_;
  inode_ptr node_;
  std::shared_ptr<state> state_;
};

}  // namespace

faulty_file_system::faulty_file_system(std::string real_directory) : state_(std::make_shared<state>()) {
  state_->real_root = std::filesystem::canonical(real_directory).string();
  state_->root = std::make_shared<inode>();
  state_->root->type = S_IFDIR;
  if (const auto id = state::identify(AT_FDCWD, state_->real_root); id.ok())
    state_->inodes[*id] = state_->root;
  struct ::stat s {};
  if (::stat(state_->real_root.c_str(), &s) == 0) state_->root->durable_attributes = attributes_of(s);
  state_->scan(state_->real_root, state_->root);
}

faulty_file_system::~faulty_file_system() = default;

std::uint64_t faulty_file_system::sync_points() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->sync_points;
}

std::uint64_t faulty_file_system::operations() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->operations;
}

void faulty_file_system::cut_power_at(std::uint64_t sync_point) {
  const std::scoped_lock lock(state_->mutex);
  state_->cut_at_sync = sync_point;
}

void faulty_file_system::cut_power_at_operation(std::uint64_t operation) {
  const std::scoped_lock lock(state_->mutex);
  state_->cut_at_operation = operation;
}

bool faulty_file_system::power_is_cut() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->cut;
}

absl::Status faulty_file_system::materialise(const std::string& directory, unsynced policy,
                                             std::uint64_t seed) const {
  const std::scoped_lock lock(state_->mutex);
  std::mt19937_64 random(seed);
  std::map<const inode*, inode_ptr> copies;
  const inode_ptr root = copy_tree(state_->root, copies);
  std::size_t steps = 0;
  if (policy == unsynced::kept) steps = state_->steps.size();
  if (policy == unsynced::random || policy == unsynced::torn) steps = random() % (state_->steps.size() + 1);
  for (std::size_t i = 0; i < steps; ++i) {
    pending_step step = state_->steps[i];
    for (auto& e : step.entries) {
      e.directory = copy_tree(e.directory, copies);
      if (e.target != nullptr) e.target = copy_tree(e.target, copies);
    }
    state::apply_step(step);
  }
  std::map<const inode*, std::filesystem::path> written;
  return write_node(*root, directory, policy, random, written);
}

absl::StatusOr<std::unique_ptr<os::directory>> faulty_file_system::open_root(std::string_view absolute_path) {
  const std::scoped_lock lock(state_->mutex);
  UNDERSTUDY_RETURN_IF_ERROR(state_->read_allowed());
  UNDERSTUDY_ASSIGN_OR_RETURN(auto real, os::posix_file_system().open_root(absolute_path));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto node, state_->find(real->descriptor(), ""));
  return std::make_unique<faulty_directory>(std::move(real), std::move(node), state_);
}

absl::Status faulty_file_system::sync_file_system(os::directory&) {
  const std::scoped_lock lock(state_->mutex);
  UNDERSTUDY_RETURN_IF_ERROR(state_->sync_allowed());
  for (auto& [id, node] : state_->inodes) state::make_durable(*node);
  for (const auto& step : state_->steps) state::apply_step(step);
  state_->steps.clear();
  return absl::OkStatus();
}

}  // namespace understudy::test
