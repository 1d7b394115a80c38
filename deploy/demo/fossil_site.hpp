#pragma once

// Fossil, a version control server that keeps everything in one SQLite database, as the protected
// application.

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/lab/lab.hpp"
#include "tests/support/system/protected_system.hpp"

namespace understudy::demo {

// `fossil server` over /srv/fossil/project.fossil, with /srv/fossil/documents beside it, on port 8080.
test::protected_application fossil_application();

// Makes the repository on a host, in WAL mode, with an account for the client.
void make_repository(test::host& where);

// An account's session at the server; it is a row of the repository, so it goes along to a stand-in.
class fossil_client {
 public:
  // Both are called inside the client's network.
  explicit fossil_client(std::string address);
  bool log_in();
  // Creates the wiki page `name`: one transaction on the server. True when the server confirmed it.
  bool create_page(const std::string& name);

 private:
  // The body of the answer; empty when there is none or it is an error.
  std::string post(const std::string& path, const std::string& body) const;

  std::string address_;
  std::string token_;
};

// The wiki pages in a repository file, sorted.
std::vector<std::string> pages_of(const std::filesystem::path& repository);

// `fossil test-integrity` and SQLite's own integrity_check over a snapshot of a repository; empty: sound.
std::string damage_of(const std::filesystem::path& repository);

}  // namespace understudy::demo
