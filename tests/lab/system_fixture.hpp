#pragma once

// What the tests of the whole system share: a protected counter, its client, and the daemons' logs when a
// test failed.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/system/commit_client.hpp"
#include "tests/support/system/protected_system.hpp"
#include "tests/support/system/tcp_exchange.hpp"
#include "tests/support/system/time_text.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {

using namespace std::chrono_literals;

class system_test : public testing::Test {
 protected:
  ~system_test() override {
    if (HasFailure() && site) std::cerr << site->logs();
    for (auto& client : clients_) client->stop();
  }

  // Daemons up, the counter served and its copy in step.
  void protect(const std::vector<std::string>& more = {}, bool assume_ip = true,
               system_options options = {}) {
    site = std::make_unique<protected_system>(std::move(options));
    site->start_host();
    for (const std::string& name : site->options().primaries) {
      site->start_agent(name);
      site->protect(name, more, assume_ip);
    }
  }

  // Boots a primary again and waits until the host has met the agent of the new boot: what it last heard of
  // the old one may still stand in its status.
  void power_on_and_meet(const std::string& name = "primary") {
    const auto before = site->event("server_reset", name);
    site->power_on(name);
    ASSERT_TRUE(site->wait_event("server_reset", 15s, name, before ? before->id() : 0));
    ASSERT_TRUE(site->wait_phase("StandingIn", 10s, name));  // a conflict met on the way is over
  }

  // One line to the counter and its answer without the newline; empty when nobody answers.
  std::string ask(const std::string& address, const std::string& line) {
    std::string answer;
    site->client().call([&] { answer = ask_here(address, line); });
    return answer;
  }
  bool serves(const std::string& address, std::chrono::milliseconds within = 10s) {
    return wait_until([&] { return ask(address, "ping") == "pong"; }, within, 10ms);
  }
  static std::string ask_here(const std::string& address, const std::string& line) {
    const auto answer = tcp_exchange(address, 7000, line + "\n", [](std::string_view text) {
      return text.find('\n') != std::string_view::npos;
    });
    return answer ? answer->substr(0, answer->find('\n')) : "";
  }

  // Adds without pause at `address`.
  commit_client& client_at(const std::string& address, const std::string& prefix = "c") {
    clients_.push_back(std::make_unique<commit_client>(
        site->client(), prefix,
        [address](const std::string& id) { return ask_here(address, "add " + id).rfind("ok ", 0) == 0; },
        10ms));
    return *clients_.back();
  }

  std::vector<std::string> ids_of_primary(const std::string& name = "primary") {
    return protected_system::counter_ids(site->on_primary(site->options().application.database, name));
  }
  std::vector<std::string> ids_of_copy(const std::string& name = "primary") {
    return protected_system::counter_ids(site->copy_of(site->options().application.database, name));
  }
  // Of `wanted`, those that are not there.
  static std::vector<std::string> missing(std::vector<std::string> wanted, std::vector<std::string> there) {
    std::sort(wanted.begin(), wanted.end());
    std::sort(there.begin(), there.end());
    std::vector<std::string> gone;
    std::set_difference(wanted.begin(), wanted.end(), there.begin(), there.end(), std::back_inserter(gone));
    return gone;
  }
  void write_document(const std::string& name, const std::string& text) {
    site->primary().write_file(site->options().application.files + "/" + name, text);
  }
  bool copy_has_document(const std::string& name) {
    return std::filesystem::exists(site->copy_of(site->options().application.files + "/" + name));
  }

  std::unique_ptr<protected_system> site;

 private:
  std::vector<std::unique_ptr<commit_client>> clients_;
};

}  // namespace understudy::test
