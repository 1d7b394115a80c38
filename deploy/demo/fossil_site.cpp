#include "deploy/demo/fossil_site.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <string_view>

#include "tests/support/lab/command.hpp"
#include "tests/support/system/tcp_exchange.hpp"

namespace understudy::demo {
namespace {

constexpr int port = 8080;
const std::string password = "a lab has no secrets";

// HTTP: the head, an empty line, as many bytes as Content-Length says.
bool complete_answer(std::string_view text) {
  const auto body = text.find("\r\n\r\n");
  const auto length = text.find("Content-Length: ");
  if (body == std::string_view::npos || length == std::string_view::npos || length > body) return false;
  return text.size() >= body + 4 + std::stoul(std::string(text.substr(length + 16, 10)));
}

}  // namespace

test::protected_application fossil_application() {
  test::protected_application made;
  made.name = "fossil";
  made.directory = "/srv/fossil";
  made.database = "/srv/fossil/project.fossil";
  made.files = "/srv/fossil/documents";
  made.start = {"/usr/bin/fossil", "server", "--nojail", "--port", std::to_string(port), made.database};
  made.environment = {"HOME=/run"};
  return made;
}

void make_repository(test::host& where) {
  const test::run_result made = where.sh(fmt::format(
      "set -e; export HOME=/run USER=admin; cd /srv/fossil; fossil init --admin-user admin project.fossil; "
      "fossil rebuild --wal project.fossil; fossil user new client 'The client' '{}' -R project.fossil; "
      "fossil user capabilities client fjkow -R project.fossil",
      password));
  if (made.exit != 0) throw std::runtime_error("cannot make a fossil repository:\n" + made.output);
}

fossil_client::fossil_client(std::string address) : address_(std::move(address)) {}

std::string fossil_client::post(const std::string& path, const std::string& body) const {
  // Fossil writes only for requests that come from its own pages.
  const auto answer = test::tcp_exchange(
      address_, port,
      fmt::format("POST {} HTTP/1.1\r\nHost: {}:{}\r\nReferer: http://{}:{}/\r\nConnection: close\r\n"
                  "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                  path, address_, port, address_, port, body.size(), body),
      complete_answer);
  if (!answer || answer->find(" 200 ") > 16 || answer->find("\"resultCode\"") != std::string::npos) return {};
  return answer->substr(answer->find("\r\n\r\n") + 4);
}

bool fossil_client::log_in() {
  const std::string answer =
      post("/json/login", fmt::format(R"({{"payload":{{"name":"client","password":"{}"}}}})", password));
  const std::string key = "\"authToken\":\"";
  const auto begin = answer.find(key);
  if (begin == std::string::npos) return false;
  const auto from = begin + key.size();
  token_ = answer.substr(from, answer.find('"', from) - from);
  return true;
}

bool fossil_client::create_page(const std::string& name) {
  const std::string answer = post(
      "/json/wiki/create",
      fmt::format(R"({{"authToken":"{}","payload":{{"name":"{}","content":"{}","mimetype":"text/plain"}}}})",
                  token_, name, name));
  return answer.find("\"uuid\"") != std::string::npos;
}

std::vector<std::string> pages_of(const std::filesystem::path& repository) {
  auto pages = test::query(repository,
                           "SELECT substr(tagname, 6) FROM tag JOIN tagxref USING(tagid) "
                           "WHERE tagname GLOB 'wiki-*' GROUP BY tagname");
  std::sort(pages.begin(), pages.end());
  return pages;
}

std::string damage_of(const std::filesystem::path& repository) {
  const auto check = test::query(repository, "PRAGMA integrity_check");
  if (check != std::vector<std::string>{"ok"})
    return "integrity_check says: " + (check.empty() ? "nothing" : check.front());
  const std::filesystem::path scratch =
      std::filesystem::temp_directory_path() / fmt::format("understudy-demo-{}", ::getpid());
  std::filesystem::create_directories(scratch);
  const std::filesystem::path snapshot = scratch / "snapshot";
  (void)test::query(repository, fmt::format("VACUUM INTO '{}'", snapshot.string()));
  const int exit =
      test::run_quietly({"env", "HOME=" + scratch.string(), "fossil", "test-integrity", "-R", snapshot});
  std::filesystem::remove_all(scratch);
  return exit == 0 ? "" : fmt::format("fossil test-integrity ends with {}", exit);
}

}  // namespace understudy::demo
