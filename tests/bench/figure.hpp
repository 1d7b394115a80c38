#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

namespace understudy::bench {

// One row of the table that `run` prints. Texts carry their units; an empty one does not apply.
struct figure {
  std::string what{};
  std::string ours{};
  std::string baseline{};  // measured in the same run
  std::string ratio{};
  std::string goal{};
  std::optional<bool> met{};  // nothing: there is no goal
};

// A line that `run` reads, and that a person can read too. Not inlined: GCC 12 would warn of reading an empty
// `met` under sanitizers.
[[gnu::noinline]] inline void print(const figure& row) {
  fmt::print("figure\t{}\t{}\t{}\t{}\t{}\t{}\n", row.what, row.ours, row.baseline, row.ratio, row.goal,
             !row.met   ? ""
             : *row.met ? "met"
                        : "missed");
  std::fflush(stdout);
}

[[noreturn]] inline void give_up(const std::string& why) {
  fmt::print(stderr, "cannot measure: {}\n", why);
  std::exit(1);
}

}  // namespace understudy::bench
