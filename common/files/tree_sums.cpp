#include "common/files/tree_sums.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>

#include "common/files/tree_path.hpp"

namespace understudy::files {
namespace {

void add_number(std::string& text, std::uint64_t number) {
  for (int i = 0; i < 8; ++i) text += static_cast<char>(number >> (8 * i));
}

void add_text(std::string& text, std::string_view part) {
  text += part;
  text += '\0';
}

void add_owner(std::string& text, const std::string& name, std::uint64_t number) {
  add_text(text, name.empty() ? fmt::format("#{}", number) : name);
}

void add_to(digest& sum, const digest& one) {
  sum.low += one.low;
  sum.high += one.high + (sum.low < one.low ? 1 : 0);
}

}  // namespace

tree_sums::tree_sums(comparison what) : what_(what) {
  const auto at = numbers_.emplace(std::string{}, 0).first;
  directories_.push_back({.path = &at->first});
}

tree_sums::summed& tree_sums::at(std::string_view path) {
  if (*directories_[last_].path == path) return directories_[last_];
  const auto [at, added] =
      numbers_.try_emplace(std::string(path), static_cast<std::uint32_t>(directories_.size()));
  const std::uint32_t number = at->second;
  if (added) {
    directories_.push_back({.path = &at->first});
    this->at(parent_of(path));
    directories_[number].parent = last_;
  }
  last_ = number;
  return directories_[last_];
}

void tree_sums::add(const observation& found) {
  const entry& e = found.what;
  text_.clear();
  add_number(text_, static_cast<std::uint64_t>(e.kind));
  add_number(text_, e.kind == entry_kind::symlink ? 0 : e.mode);
  add_number(text_, e.size);
  add_number(text_, static_cast<std::uint64_t>(e.modified_at));
  add_text(text_, name_of(e.path));
  if (what_.owners) {
    add_owner(text_, e.owner, e.uid);
    add_owner(text_, e.group, e.gid);
  } else {
    add_text(text_, {});
    add_text(text_, {});
  }
  add_text(text_, e.target);
  if (what_.extended_attributes) {
    for (const auto& [name, value] : e.attributes) {
      add_text(text_, name);
      add_number(text_, value.size());
      text_ += value;
    }
  }
  const bool is_base = e.path == base_path;
  add_to(at(is_base ? std::string_view{} : parent_of(e.path)).sum, digest_of(text_));
  if (is_base) return;
  if (e.kind == entry_kind::directory) {
    const std::uint32_t parent = last_;
    at(e.path);
    last_ = parent;
  }
  if (found.names > 1) links_.push_back({.device = found.device, .inode = found.inode, .path = e.path});
}

void tree_sums::leave_open(std::string_view directory) {
  at(directory).open = true;
}

void tree_sums::finish() {
  std::sort(links_.begin(), links_.end(), [](const link& a, const link& b) {
    return std::tie(a.device, a.inode, a.path) < std::tie(b.device, b.inode, b.path);
  });
  for (auto first = links_.begin(); first != links_.end();) {
    const auto end = std::find_if(first, links_.end(), [&](const link& l) {
      return l.device != first->device || l.inode != first->inode;
    });
    if (end - first > 1) leaders_.emplace(std::pair(first->device, first->inode), first->path);
    for (auto one = first; end - first > 1 && one != end; ++one) {
      text_.clear();
      add_text(text_, "link");
      add_text(text_, name_of(one->path));
      text_ += first->path;
      add_to(at(parent_of(one->path)).sum, digest_of(text_));
    }
    first = end;
  }
  for (std::size_t i = directories_.size() - 1; i > 0; --i) {
    const summed& d = directories_[i];
    summed& parent = directories_[d.parent];
    parent.open = parent.open || d.open;
    text_.clear();
    add_text(text_, "below");
    add_text(text_, name_of(*d.path));
    text_ += to_bytes(d.sum);
    add_to(parent.sum, digest_of(text_));
  }
}

std::optional<digest> tree_sums::below(std::string_view directory) const {
  const auto at = numbers_.find(std::string(directory));
  if (at == numbers_.end() || directories_[at->second].open) return std::nullopt;
  return directories_[at->second].sum;
}

std::string tree_sums::leader_of(dev_t device, ino_t inode) const {
  const auto at = leaders_.find({device, inode});
  return at == leaders_.end() ? std::string{} : at->second;
}

}  // namespace understudy::files
