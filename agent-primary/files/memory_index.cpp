#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "agent-primary/files/tree_index.hpp"
#include "common/files/digest.hpp"
#include "common/files/tree_path.hpp"

namespace understudy::files {
namespace {

struct node;

struct by_name {
  using is_transparent = void;
  bool operator()(const node* a, const node* b) const;
  bool operator()(const node* a, std::string_view b) const;
  bool operator()(std::string_view a, const node* b) const;
};
using nodes = absl::btree_set<node*, by_name>;

// What few entries have: directories with something in them, and what this or an earlier stream sent or read.
struct rare {
  nodes children;
  std::uint64_t extra = 0;
  std::optional<digest> content;
  epoch_ns read_at = 0;
  std::chrono::steady_clock::time_point read_at_steady;
  std::uint64_t sequence = 0;
  std::uint64_t moved_by = 0;  // the last rename of this very node
  node* next_name = nullptr;   // of the same file
};

// A million files have a million of these: without padding, and the name in the same piece of memory.
struct node {
  node* parent = nullptr;
  std::unique_ptr<rare> more;
  ino_t inode = 0;
  std::uint64_t size = 0;
  epoch_ns modified_at = 0;
  epoch_ns changed_at = 0;
  std::uint32_t names = 1;
  std::uint32_t owner = 0;   // a number of memory_index::owners_
  std::uint16_t device = 0;  // of devices_
  std::uint16_t mode : 12 = 0;
  std::uint16_t kind : 2 = 0;
  std::uint16_t same : 1 = 0;
  std::uint16_t listed_by_inode : 1 = 0;
  std::uint16_t name_bytes = 0;

  std::string_view name() const { return {reinterpret_cast<const char*>(this) + sizeof(node), name_bytes}; }
  entry_kind what() const { return static_cast<entry_kind>(kind); }
  rare& rest() {
    if (more == nullptr) more = std::make_unique<rare>();
    return *more;
  }
  node* child(std::string_view wanted) const {
    if (more == nullptr) return nullptr;
    const auto at = more->children.find(wanted);
    return at == more->children.end() ? nullptr : *at;
  }

  static node* make(std::string_view name) {
    void* memory = ::operator new(sizeof(node) + name.size());
    node* made = new (memory) node;
    made->name_bytes = static_cast<std::uint16_t>(name.size());
    name.copy(static_cast<char*>(memory) + sizeof(node), name.size());
    return made;
  }
  static void unmake(node* n) {
    n->~node();
    ::operator delete(n);
  }
};

bool by_name::operator()(const node* a, const node* b) const {
  return a->name() < b->name();
}
bool by_name::operator()(const node* a, std::string_view b) const {
  return a->name() < b;
}
bool by_name::operator()(std::string_view a, const node* b) const {
  return a < b->name();
}

struct file_identity {
  std::uint16_t device = 0;
  ino_t inode = 0;
};
struct identity_hash {
  using is_transparent = void;
  std::size_t operator()(const node* n) const { return (*this)({n->device, n->inode}); }
  std::size_t operator()(const file_identity& f) const {
    return static_cast<std::size_t>(f.inode) * 0x9e3779b97f4a7c15U ^ f.device;
  }
};
struct identity_equal {
  using is_transparent = void;
  bool operator()(const node* a, const node* b) const {
    return a->inode == b->inode && a->device == b->device;
  }
  bool operator()(const node* a, const file_identity& b) const {
    return a->inode == b.inode && a->device == b.device;
  }
  bool operator()(const file_identity& a, const node* b) const { return (*this)(b, a); }
};

// Numbers for what few different values there are of.
template <class Value>
class numbered {
 public:
  std::uint32_t number_of(const Value& value) {
    const auto [at, added] = numbers_.try_emplace(value, static_cast<std::uint32_t>(values_.size()));
    if (added) values_.push_back(value);
    return at->second;
  }
  std::optional<std::uint32_t> known(const Value& value) const {
    const auto at = numbers_.find(value);
    return at == numbers_.end() ? std::nullopt : std::optional(at->second);
  }
  const Value& operator[](std::uint32_t number) const { return values_[number]; }

 private:
  std::vector<Value> values_;
  absl::flat_hash_map<Value, std::uint32_t> numbers_;
};

class memory_index final : public tree_index {
 public:
  memory_index() : root_(node::make({})) {
    root_->kind = static_cast<std::uint16_t>(entry_kind::directory);
    write(*root_, record_of_directory());
  }
  ~memory_index() override {
    drop_children(*root_);
    node::unmake(root_);
  }
  memory_index(const memory_index&) = delete;
  memory_index& operator=(const memory_index&) = delete;

  std::optional<index_record> find(std::string_view path) const override {
    const node* at = find_node(path);
    return at == nullptr ? std::nullopt : std::optional(read(*at));
  }

  void put(std::string_view path, const index_record& record) override {
    node* at = root_;
    if (path != base_path) {
      for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        at = child_of(*at, path.substr(begin, end - begin));
        begin = end + 1;
      }
    }
    if (record.kind != entry_kind::directory) drop_children(*at);
    unlink_names(*at);
    write(*at, record);
    link_names(*at);
  }

  void remove(std::string_view path) override {
    node* at = find_node(path);
    if (at == nullptr || at == root_) return;
    at->parent->more->children.erase(at);
    drop(at);
  }

  bool rename(std::string_view from, std::string_view to, std::uint64_t sequence) override {
    node* source = find_node(from);
    node* parent = parent_of(to).empty() ? root_ : find_node(parent_of(to));
    if (source == nullptr || source == root_ || parent == nullptr) return false;
    if (parent->what() != entry_kind::directory || is_below(to, from)) return false;
    remove(to);
    source->parent->more->children.erase(source);
    // The name is part of the node.
    node* moved = node::make(name_of(to));
    const std::uint16_t name_bytes = moved->name_bytes;
    unlink_names(*source);
    *moved = std::move(*source);
    moved->name_bytes = name_bytes;
    moved->parent = parent;
    if (moved->more != nullptr) {
      for (node* child : moved->more->children) child->parent = moved;
    }
    node::unmake(source);
    moved->rest().moved_by = sequence;
    parent->rest().children.insert(moved);
    link_names(*moved);
    return true;
  }

  void list(std::string_view directory,
            const std::function<void(const std::string&, const index_record&)>& visit) const override {
    const node* at = find_node(directory.empty() ? base_path : directory);
    if (at == nullptr || at->more == nullptr) return;
    for (const node* child : at->more->children) visit(std::string(child->name()), read(*child));
  }

  std::vector<std::string> names_of(dev_t device, ino_t inode) const override {
    std::vector<std::string> paths;
    const auto number = devices_.known(device);
    if (!number) return paths;
    const auto at = by_inode_.find(file_identity{static_cast<std::uint16_t>(*number), inode});
    if (at == by_inode_.end()) return paths;
    for (const node* n = *at; n != nullptr; n = n->more == nullptr ? nullptr : n->more->next_name) {
      paths.push_back(path_of(*n));
    }
    return paths;
  }

  std::uint64_t last_touched(std::string_view path) const override {
    std::uint64_t newest = 0;
    const node* at = find_node(path);
    if (at != nullptr && at->more != nullptr) newest = at->more->sequence;
    for (; at != nullptr; at = at->parent) {
      if (at->more != nullptr) newest = std::max(newest, at->more->moved_by);
    }
    return newest;
  }

  void begin_anew(std::uint64_t durable) override { begin_anew(*root_, 0, durable); }

  std::size_t size() const override { return size_; }

 private:
  static index_record record_of_directory() {
    index_record record;
    record.kind = entry_kind::directory;
    return record;
  }

  void write(node& n, const index_record& r) {
    n.kind = static_cast<std::uint16_t>(r.kind);
    n.same = r.same ? 1 : 0;
    n.mode = r.mode & 07777;
    n.owner = owners_.number_of({r.uid, r.gid});
    n.size = r.size;
    n.modified_at = r.modified_at;
    // More filesystems below one base than there are numbers would only make files look replaced.
    n.device = static_cast<std::uint16_t>(devices_.number_of(r.device));
    n.inode = r.inode;
    n.changed_at = r.changed_at;
    n.names =
        static_cast<std::uint32_t>(std::min<nlink_t>(r.names, std::numeric_limits<std::uint32_t>::max()));
    const bool sent_or_read = r.extra != 0 || r.content || r.read_at != 0 || r.sequence != 0 ||
                              r.read_at_steady != std::chrono::steady_clock::time_point{};
    if (n.more == nullptr && !sent_or_read) return;
    rare& more = n.rest();
    more.extra = r.extra;
    more.content = r.content;
    more.read_at = r.read_at;
    more.read_at_steady = r.read_at_steady;
    more.sequence = r.sequence;
  }
  index_record read(const node& n) const {
    index_record r;
    r.kind = n.what();
    r.same = n.same != 0;
    r.mode = n.mode;
    r.uid = owners_[n.owner].first;
    r.gid = owners_[n.owner].second;
    r.size = n.size;
    r.modified_at = n.modified_at;
    r.device = devices_[n.device];
    r.inode = n.inode;
    r.changed_at = n.changed_at;
    r.names = n.names;
    if (n.more == nullptr) return r;
    r.extra = n.more->extra;
    r.content = n.more->content;
    r.read_at = n.more->read_at;
    r.read_at_steady = n.more->read_at_steady;
    r.sequence = n.more->sequence;
    return r;
  }

  const node* find_node(std::string_view path) const {
    const node* at = root_;
    if (path == base_path) return at;
    for (std::size_t begin = 0; begin <= path.size();) {
      const std::size_t end = std::min(path.find('/', begin), path.size());
      at = at->child(path.substr(begin, end - begin));
      if (at == nullptr) return nullptr;
      begin = end + 1;
    }
    return at;
  }
  node* find_node(std::string_view path) { return const_cast<node*>(std::as_const(*this).find_node(path)); }

  node* child_of(node& parent, std::string_view name) {
    if (parent.what() != entry_kind::directory) {
      unlink_names(parent);
      write(parent, record_of_directory());
    }
    if (node* known = parent.child(name)) return known;
    node* child = node::make(name);
    child->parent = &parent;
    write(*child, record_of_directory());
    parent.rest().children.insert(child);
    ++size_;
    return child;
  }

  static std::string path_of(const node& n) {
    std::vector<const node*> way;
    for (const node* at = &n; at->parent != nullptr; at = at->parent) way.push_back(at);
    std::string path;
    for (auto at = way.rbegin(); at != way.rend(); ++at) path = join(path, (*at)->name());
    return path;
  }

  static void begin_anew(node& n, std::uint64_t moved_by, std::uint64_t durable) {
    if (n.more == nullptr) return;
    rare& more = *n.more;
    moved_by = std::max(moved_by, std::exchange(more.moved_by, 0));
    if (std::max(moved_by, std::exchange(more.sequence, 0)) > durable) {
      more.content.reset();
      more.read_at = 0;
      more.read_at_steady = {};
    }
    for (node* child : more.children) begin_anew(*child, moved_by, durable);
  }

  void drop_children(node& n) {
    if (n.more == nullptr) return;
    for (node* child : std::exchange(n.more->children, {})) drop(child);
  }
  void drop(node* n) {
    drop_children(*n);
    unlink_names(*n);
    node::unmake(n);
    --size_;
  }

  // Also files with one name: no event tells a file that it was given another.
  void link_names(node& n) {
    if (n.what() != entry_kind::regular || n.inode == 0) return;
    n.listed_by_inode = 1;
    const auto [at, first] = by_inode_.insert(&n);
    if (first) return;
    rare& leader = (*at)->rest();
    if (leader.next_name != nullptr || n.more != nullptr) n.rest().next_name = leader.next_name;
    leader.next_name = &n;
  }
  void unlink_names(node& n) {
    if (n.listed_by_inode == 0) return;
    n.listed_by_inode = 0;
    node* next = n.more == nullptr ? nullptr : std::exchange(n.more->next_name, nullptr);
    const auto at = by_inode_.find(&n);
    if (*at == &n) {
      by_inode_.erase(at);
      if (next != nullptr) by_inode_.insert(next);
      return;
    }
    node* before = *at;
    while (before->more->next_name != &n) before = before->more->next_name;
    before->more->next_name = next;
  }

  node* root_;
  absl::flat_hash_set<node*, identity_hash, identity_equal> by_inode_;  // the first name of each file
  numbered<std::pair<uid_t, gid_t>> owners_;
  numbered<dev_t> devices_;
  std::size_t size_ = 0;
};

}  // namespace

std::uint64_t extra_of(const entry& e) {
  if (e.target.empty() && e.attributes.empty()) return 0;
  digest_builder all;
  all.add(e.target);
  for (const auto& [name, value] : e.attributes) {
    all.add(name);
    all.add(std::string_view("\0", 1));
    all.add(value);
    all.add(std::string_view("\0", 1));
  }
  return all.result().low;
}

index_record record_of(const observation& o) {
  index_record r;
  r.kind = o.what.kind;
  r.same = true;
  r.mode = o.what.mode;
  r.uid = o.what.uid;
  r.gid = o.what.gid;
  r.size = o.what.size;
  r.modified_at = o.what.modified_at;
  r.device = o.device;
  r.inode = o.inode;
  r.changed_at = o.changed_at;
  r.names = o.names;
  r.extra = extra_of(o.what);
  r.content = o.what.content;
  return r;
}

index_record record_without_attributes(const observation& o) {
  index_record r = record_of(o);
  r.extra = ~r.extra;
  return r;
}

index_record record_without_content(const observation& o) {
  index_record r = record_of(o);
  r.same = false;
  r.device = 0;
  r.inode = 0;
  return r;
}

std::unique_ptr<tree_index> make_memory_index() {
  return std::make_unique<memory_index>();
}

}  // namespace understudy::files
