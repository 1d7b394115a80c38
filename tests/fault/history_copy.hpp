#pragma once

// A copy with its history, and the check that every state of the window is what the source had then.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent-failover/history/keeper.hpp"
#include "agent-failover/history/restore.hpp"
#include "agent-failover/replica/database_copy.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {

// Page by page what state n of the source is.
inline std::vector<std::string> pages_of(const history& h, std::size_t n) {
  std::vector<std::string> pages;
  for (auto& p : h.image(n)) pages.push_back(std::move(p.bytes));
  return pages;
}

// Empty, or how the view differs from every state of the source.
inline std::string compare(understudy::history::view& v, const std::vector<const history*>& sources) {
  for (const history* h : sources) {
    const int n = h->find(v.combined());
    if (n < 0) continue;
    const auto expected = pages_of(*h, static_cast<std::size_t>(n));
    if (v.page_count() != expected.size())
      return fmt::format("state {}: {} pages, not {}", n, v.page_count(), expected.size());
    if (v.page_size() != h->page_size) return fmt::format("state {}: page size {}", n, v.page_size());
    std::string page(v.page_size(), '\0');
    for (std::uint32_t i = 1; i <= v.page_count(); ++i) {
      const absl::Status read = v.read_page(i, std::as_writable_bytes(std::span(page)));
      if (!read.ok()) return fmt::format("state {}, page {}: {}", n, i, message_of(read));
      if (page != expected[i - 1]) return fmt::format("state {}: page {} differs", n, i);
    }
    return "";
  }
  return "a state that the source never had";
}

// Every state of the window by itself, and one view that goes through them all.
inline std::string compare_all(understudy::history::database_history& kept,
                               const std::vector<const history*>& sources, std::size_t step = 1) {
  const auto w = kept.range();
  if (!w.exists) return fmt::format("no window: {}", w.began_because);
  for (std::uint64_t s = w.first; s <= w.last; s += step) {
    auto v = kept.view_of(s);
    if (!v.ok()) return fmt::format("{} of {}..{}: {}", s, w.first, w.last, message_of(v.status()));
    if (auto wrong = compare(**v, sources); !wrong.empty()) return fmt::format("{}: {}", s, wrong);
  }
  auto v = kept.view_of(w.first);
  if (!v.ok()) return std::string(message_of(v.status()));
  for (std::uint64_t s = w.first; s < w.last; ++s) {
    if (const absl::Status moved = (*v)->advance(); !moved.ok())
      return fmt::format("advance to {}: {}", s + 1, message_of(moved));
    if ((*v)->state() != s + 1) return "advanced elsewhere";
    if (s % step != 0) continue;
    if (auto wrong = compare(**v, sources); !wrong.empty())
      return fmt::format("advanced to {}: {}", s + 1, wrong);
  }
  return "";
}

}  // namespace understudy::test
