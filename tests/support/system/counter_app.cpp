// counter_app: the smallest server with a database that a failover pair can protect. A client connects and
// sends lines; each is answered with one line.
//   add ID    commits a row; "ok NUMBER"
//   has ID    "yes" or "no"
//   count     "ok ROWS"
//   ping      "pong"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/os/unique_fd.hpp"
#include "tests/support/system/tcp_exchange.hpp"

namespace {

using understudy::os::unique_fd;

constexpr std::size_t longest_line = 1024;
constexpr timeval client_patience{.tv_sec = 2, .tv_usec = 0};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "counter_app: %s\n", what.c_str());
  std::exit(1);
}

class table {
 public:
  explicit table(const std::string& path) {
    if (sqlite3_open(path.c_str(), &database_) != SQLITE_OK) fail(path + ": " + sqlite3_errmsg(database_));
    sqlite3_busy_timeout(database_, 5000);
    for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL",
                            "CREATE TABLE IF NOT EXISTS entry(number INTEGER PRIMARY KEY, id TEXT UNIQUE)"})
      if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
        fail(path + ": " + sqlite3_errmsg(database_));
  }
  ~table() { sqlite3_close(database_); }

  std::string answer(const std::string& line) {
    if (line == "ping") return "pong";
    if (line == "count") return "ok " + value("SELECT count(*) FROM entry", "");
    const std::string verb = line.substr(0, line.find(' '));
    const std::string id = line.size() > verb.size() ? line.substr(verb.size() + 1) : "";
    if (verb == "has" && !id.empty())
      return value("SELECT count(*) FROM entry WHERE id = ?1", id) == "1" ? "yes" : "no";
    if (verb != "add" || id.empty()) return "error what?";
    const std::string number = value("INSERT INTO entry(id) VALUES(?1) RETURNING number", id);
    return number.empty() ? std::string("error ") + sqlite3_errmsg(database_) : "ok " + number;
  }

 private:
  // The first column of the first row; empty when there is none or it failed.
  std::string value(const char* sql, const std::string& parameter) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr) != SQLITE_OK) return {};
    if (!parameter.empty())
      sqlite3_bind_text(statement, 1, parameter.data(), static_cast<int>(parameter.size()), SQLITE_STATIC);
    std::string found;
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
      found = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
      result = sqlite3_step(statement);
    }
    if (sqlite3_finalize(statement) != SQLITE_OK || result != SQLITE_DONE) return {};
    return found;
  }

  sqlite3* database_ = nullptr;
};

unique_fd listen_on(int port) {
  unique_fd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  const int off = 0;
  ::setsockopt(fd.value(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd.value(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_any;
  address.sin6_port = htons(static_cast<std::uint16_t>(port));
  if (!fd || ::bind(fd.value(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.value(), 64) != 0)
    fail("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
  return fd;
}

void serve(const unique_fd& client, table& entries) {
  ::setsockopt(client.value(), SOL_SOCKET, SO_RCVTIMEO, &client_patience, sizeof client_patience);
  std::string buffer;
  while (buffer.size() < longest_line) {
    char part[512];
    const ssize_t got = ::recv(client.value(), part, sizeof part, 0);
    if (got <= 0) return;
    buffer.append(part, static_cast<std::size_t>(got));
    for (auto end = buffer.find('\n'); end != std::string::npos; end = buffer.find('\n')) {
      const std::string answer = entries.answer(buffer.substr(0, end)) + "\n";
      if (::send(client.value(), answer.data(), answer.size(), MSG_NOSIGNAL) < 0) return;
      buffer.erase(0, end + 1);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string database;
  int port = 7000;
  bool check = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--check") {
      check = true;
    } else if (word == "--database" && i + 1 < argc) {
      database = argv[++i];
    } else if (word == "--port" && i + 1 < argc) {
      port = std::atoi(argv[++i]);
    } else {
      fail("usage: counter_app --database FILE [--port PORT] | --check [--port PORT]");
    }
  }
  if (check) {
    const auto answer = understudy::test::tcp_exchange(
        "127.0.0.1", port, "ping\n", [](std::string_view text) { return text == "pong\n"; });
    return answer ? 0 : 1;
  }
  if (database.empty()) fail("which database?");
  ::signal(SIGPIPE, SIG_IGN);
  table entries(database);
  const unique_fd listener = listen_on(port);
  for (;;) {
    const unique_fd client(::accept4(listener.value(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) serve(client, entries);
  }
}
