#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace understudy::bench {

using clock = std::chrono::steady_clock;

inline double milliseconds_between(clock::time_point from, clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}
inline double milliseconds_since(clock::time_point from) {
  return milliseconds_between(from, clock::now());
}

class samples {
 public:
  void add(double value) { values_.push_back(value); }
  std::size_t count() const { return values_.size(); }
  // p in [0, 1]; 1 is the largest. 0 without samples.
  double percentile(double p) const {
    if (values_.empty()) return 0;
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(p * static_cast<double>(sorted.size() - 1))];
  }
  double median() const { return percentile(0.5); }

 private:
  std::vector<double> values_;
};

}  // namespace understudy::bench
