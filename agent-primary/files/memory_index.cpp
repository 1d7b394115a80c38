#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include "agent-primary/files/tree_index.hpp"
#include "common/files/digest.hpp"
#include "common/files/tree_path.hpp"

namespace understudy::files {
namespace {

struct node;

// By its name, which the node itself holds: a million files have a million of them.
struct by_name {
  using is_transparent = void;
  bool operator()(const std::unique_ptr<node>& a, const std::unique_ptr<node>& b) const;
  bool operator()(const std::unique_ptr<node>& a, std::string_view b) const;
  bool operator()(std::string_view a, const std::unique_ptr<node>& b) const;
};
using nodes = std::set<std::unique_ptr<node>, by_name>;

struct node {
  index_record record;
  node* parent = nullptr;
  std::string name;
  std::unique_ptr<nodes> children;  // of a directory that has any
  std::uint64_t moved_by = 0;       // the last rename of this very node

  node* child(std::string_view wanted) const {
    if (children == nullptr) return nullptr;
    const auto at = children->find(wanted);
    return at == children->end() ? nullptr : at->get();
  }
  void adopt(std::unique_ptr<node> made) {
    if (children == nullptr) children = std::make_unique<nodes>();
    children->insert(std::move(made));
  }
  std::unique_ptr<node> give_away(std::string_view wanted) {
    std::unique_ptr<node> taken = std::move(children->extract(children->find(wanted)).value());
    if (children->empty()) children.reset();
    return taken;
  }
};

bool by_name::operator()(const std::unique_ptr<node>& a, const std::unique_ptr<node>& b) const {
  return a->name < b->name;
}
bool by_name::operator()(const std::unique_ptr<node>& a, std::string_view b) const {
  return a->name < b;
}
bool by_name::operator()(std::string_view a, const std::unique_ptr<node>& b) const {
  return a < b->name;
}

class memory_index final : public tree_index {
 public:
  memory_index() { root_.record.kind = entry_kind::directory; }

  const index_record* find(std::string_view path) const override {
    const node* at = find_node(path);
    return at == nullptr ? nullptr : &at->record;
  }

  void put(std::string_view path, const index_record& record) override {
    node* at = &root_;
    if (path != base_path) {
      for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        at = child_of(*at, path.substr(begin, end - begin));
        begin = end + 1;
      }
    }
    if (record.kind != entry_kind::directory) drop_children(*at);
    unlink_names(*at);
    at->record = record;
    link_names(*at);
  }

  void remove(std::string_view path) override {
    node* at = find_node(path);
    if (at == nullptr || at == &root_) return;
    drop(*at);
    at->parent->give_away(at->name);
  }

  bool rename(std::string_view from, std::string_view to, std::uint64_t sequence) override {
    node* source = find_node(from);
    node* parent = parent_of(to).empty() ? &root_ : find_node(parent_of(to));
    if (source == nullptr || source == &root_ || parent == nullptr) return false;
    if (parent->record.kind != entry_kind::directory || is_below(to, from)) return false;
    remove(to);
    std::unique_ptr<node> taken = source->parent->give_away(source->name);
    source->parent = parent;
    source->name = name_of(to);
    source->moved_by = sequence;
    parent->adopt(std::move(taken));
    return true;
  }

  void list(std::string_view directory,
            const std::function<void(const std::string&, const index_record&)>& visit) const override {
    const node* at = find_node(directory.empty() ? base_path : directory);
    if (at == nullptr || at->children == nullptr) return;
    for (const auto& child : *at->children) visit(child->name, child->record);
  }

  std::vector<std::string> names_of(dev_t device, ino_t inode) const override {
    std::vector<std::string> paths;
    const auto [first, last] = by_inode_.equal_range(inode);
    for (auto at = first; at != last; ++at) {
      if (at->second->record.device == device) paths.push_back(path_of(*at->second));
    }
    return paths;
  }

  std::uint64_t last_touched(std::string_view path) const override {
    std::uint64_t newest = 0;
    const node* at = find_node(path);
    if (at != nullptr) newest = at->record.sequence;
    for (; at != nullptr; at = at->parent) newest = std::max(newest, at->moved_by);
    return newest;
  }

  std::size_t size() const override { return size_; }

 private:
  const node* find_node(std::string_view path) const {
    const node* at = &root_;
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
    if (parent.record.kind != entry_kind::directory) {
      parent.record = {};
      parent.record.kind = entry_kind::directory;
    }
    if (node* known = parent.child(name)) return known;
    auto made = std::make_unique<node>();
    node* child = made.get();
    made->parent = &parent;
    made->name = name;
    made->record.kind = entry_kind::directory;
    parent.adopt(std::move(made));
    ++size_;
    return child;
  }

  static std::string path_of(const node& n) {
    std::vector<const node*> way;
    for (const node* at = &n; at->parent != nullptr; at = at->parent) way.push_back(at);
    std::string path;
    for (auto at = way.rbegin(); at != way.rend(); ++at) path = join(path, (*at)->name);
    return path;
  }

  void drop_children(node& n) {
    if (n.children == nullptr) return;
    for (const auto& child : *n.children) drop(*child);
    n.children.reset();
  }
  void drop(node& n) {
    drop_children(n);
    unlink_names(n);
    --size_;
  }

  // Also files with one name: no event tells a file that it was given another.
  void link_names(node& n) {
    if (n.record.kind == entry_kind::regular && n.record.inode != 0) by_inode_.emplace(n.record.inode, &n);
  }
  void unlink_names(node& n) {
    if (n.record.kind != entry_kind::regular || n.record.inode == 0) return;
    const auto [first, last] = by_inode_.equal_range(n.record.inode);
    const auto at = std::find_if(first, last, [&](const auto& known) { return known.second == &n; });
    if (at != last) by_inode_.erase(at);
  }

  node root_;
  std::unordered_multimap<ino_t, node*> by_inode_;
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

std::unique_ptr<tree_index> make_memory_index() {
  return std::make_unique<memory_index>();
}

}  // namespace understudy::files
