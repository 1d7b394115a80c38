#include "agent-primary/files/dirty_set.hpp"

#include <algorithm>

#include "common/files/tree_path.hpp"

namespace understudy::files {
namespace {

constexpr std::size_t most_hints = 200'000;  // paths and renames; about 40 MB. A scan is quicker than more.

}  // namespace

void dirty_set::wake() {
  std::function<void()> ready;
  {
    const std::lock_guard lock(mutex_);
    ready = ready_;
  }
  if (ready) ready();
}

void dirty_set::become_everything() {
  work_.paths.clear();
  work_.renames.clear();
  work_.everything = true;
}

void dirty_set::mark(std::string_view path, bool content, bool recursive, std::chrono::milliseconds delay) {
  const auto now = std::chrono::steady_clock::now();
  bool sooner = false;
  {
    const std::lock_guard lock(mutex_);
    const auto [at, added] = work_.paths.try_emplace(std::string(path));
    hint& h = at->second;
    h.content = h.content || content;
    h.recursive = h.recursive || recursive;
    h.last = now;
    sooner = added || now + delay < h.due;
    if (sooner) h.due = now + delay;
    if (work_.paths.size() > most_hints) become_everything();
  }
  if (sooner) wake();
}

void dirty_set::mark_gone(std::string_view path) {
  {
    const std::lock_guard lock(mutex_);
    hint& h = work_.paths[std::string(path)];
    h.gone = true;
    h.recursive = true;
    h.due = h.last = std::chrono::steady_clock::now();
    if (work_.paths.size() > most_hints) become_everything();
  }
  wake();
}

void dirty_set::mark_renamed(std::string_view from, std::string_view to) {
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<std::string, hint>> moved;
    const auto take = [&](auto at) {
      moved.emplace_back(std::string(to) + at->first.substr(from.size()), at->second);
      return work_.paths.erase(at);
    };
    if (const auto at = work_.paths.find(std::string(from)); at != work_.paths.end()) take(at);
    const std::string below = std::string(from) + "/";
    for (auto at = work_.paths.lower_bound(below); at != work_.paths.end() && at->first.starts_with(below);) {
      at = take(at);
    }
    for (auto& [path, h] : moved) {
      hint& kept = work_.paths.try_emplace(std::move(path), h).first->second;
      kept.content = kept.content || h.content;
    }
    for (const std::string_view end : {from, to}) {
      hint& h = work_.paths[std::string(end)];
      h.recursive = true;
      h.last = now;
      h.due = now;
    }
    work_.renames.emplace_back(from, to);
    if (work_.paths.size() + work_.renames.size() > most_hints) become_everything();
  }
  wake();
}

void dirty_set::mark_everything() {
  {
    const std::lock_guard lock(mutex_);
    work_.everything = true;  // hints stay: they say what was written
  }
  wake();
}

dirty_work dirty_set::take(std::uint64_t session, steady_time now) {
  const std::lock_guard lock(mutex_);
  if (session != session_) return {};
  dirty_work taken;
  // A rename says all by itself, and looking at what it moved takes long: it goes ahead, once.
  if (!work_.everything && !work_.renames.empty() && !std::exchange(renames_went_ahead_, true)) {
    taken.renames = std::exchange(work_.renames, {});
    return taken;
  }
  renames_went_ahead_ = false;
  taken.everything = std::exchange(work_.everything, false);
  taken.renames = std::exchange(work_.renames, {});
  for (auto at = work_.paths.begin(); at != work_.paths.end();) {
    if (at->second.due > now && !taken.everything) {
      ++at;
      continue;
    }
    taken.paths.insert(work_.paths.extract(at++));
  }
  return taken;
}

std::optional<steady_time> dirty_set::next_due() const {
  const std::lock_guard lock(mutex_);
  if (work_.everything || !work_.renames.empty()) return steady_time::min();
  std::optional<steady_time> first;
  for (const auto& [path, h] : work_.paths) {
    if (!first || h.due < *first) first = h.due;
  }
  return first;
}

bool dirty_set::empty() const {
  const std::lock_guard lock(mutex_);
  return !work_.everything && work_.renames.empty() && work_.paths.empty();
}

std::uint64_t dirty_set::begin_session(std::function<void()> ready) {
  const std::lock_guard lock(mutex_);
  ready_ = std::move(ready);
  return ++session_;
}

bool dirty_set::is_newest(std::uint64_t session) const {
  const std::lock_guard lock(mutex_);
  return session == session_;
}

void dirty_set::set_complete_until(epoch_ns moment) {
  const std::lock_guard lock(mutex_);
  complete_until_ = moment;
}

epoch_ns dirty_set::complete_until() const {
  const std::lock_guard lock(mutex_);
  return complete_until_;
}

}  // namespace understudy::files
