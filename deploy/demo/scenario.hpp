#pragma once

// The two stories of the demonstration. Both leave the pair as they found it: the primary serves, protected.

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "deploy/demo/fossil_site.hpp"
#include "deploy/demo/report.hpp"
#include "tests/support/system/commit_client.hpp"
#include "tests/support/system/protected_system.hpp"

namespace understudy::demo {

using words = std::set<std::string>;

class scenario {
 public:
  explicit scenario(report& out);
  ~scenario();

  // The primary loses power in the middle of the client's work, and comes back later.
  void power_loss();
  // The operator moves the application to the failover host and back; nothing is lost.
  void switchover();

  test::protected_system& site() { return site_; }

 private:
  // A directory of files that somebody writes into, where the application runs at the moment.
  class writer;

  void begin(std::string_view title);
  test::outage fail_back(const std::string& choice);  // the client's downtime
  void end_work();
  words set_aside_pages();
  // Documents written shortly before `cut_at` and until `served_again` may have been lost with the power.
  void check_files(test::wall_clock::time_point cut_at, test::wall_clock::time_point served_again);
  // Both databases are sound and equal.
  void check_databases();

  report& out_;
  test::protected_system site_;
  fossil_client pages_;
  std::unique_ptr<test::commit_client> client_;
  std::unique_ptr<writer> writer_;
};

}  // namespace understudy::demo
