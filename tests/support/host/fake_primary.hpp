#pragma once

// A primary as the failover host meets it: a PrimaryAgent on loopback over a real SQLite database with a real
// capture and a real restore, whose right to run follows the agent's rules (epochs only grow) in memory. Its
// application is a file that exists while it runs.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace understudy::test {

class fake_primary {
 public:
  // Keeps its database `main` and everything else under `directory`; the application runs, under epoch 1.
  explicit fake_primary(std::string directory);
  ~fake_primary();

  int port() const;
  const std::string& database() const;      // its absolute path
  const std::string& running_file() const;  // exists while the application runs
  bool application_runs() const;
  std::uint64_t epoch() const;
  bool owned_by_host() const;

  // From now on it cannot be reached, or can be again (on the same port).
  void set_reachable(bool reachable);
  // Unreachable, and its application is down with it.
  void die();

  // What the version command of its application `app` prints.
  void set_version(std::string version);
  // Its database file cannot be read to its end any more, or can again.
  void set_unreadable(bool unreadable);
  // What it reports as its boot id.
  void set_boot_id(std::string boot_id);
  // The present line is dead and does not know it: what is asked on it is not answered. A new one is.
  void deafen_line();
  // The next adoptions are carried out, and their answers lost with the stream.
  void lose_adoption_answers(int count);

  // Of the streams of databases to the host, and of those that came back.
  std::uint64_t sent_bytes() const;
  std::uint64_t received_bytes() const;

  // Orders that came, in order: "grant 3", "fence 2", with " refused" if they were.
  std::vector<std::string> orders() const;
  // True when an order was accepted whose epoch was smaller than an earlier one's.
  bool went_backwards() const;

 private:
  class implementation;
  std::unique_ptr<implementation> implementation_;
};

// Runs SQL in the sqlite3 shell, never in this process: captures here must not share it with libsqlite. What
// it printed, lines joined by ",".
std::string run_sql(const std::string& database, const std::string& sql);

}  // namespace understudy::test
