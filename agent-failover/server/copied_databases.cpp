#include "agent-failover/server/copied_databases.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>

#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/store/state_store.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

constexpr const char* record = "copied";

// Empty: there is no record.
std::optional<std::set<std::string>> recorded(const copy_layout& layout) {
  std::ifstream in(layout.directory() + "/" + record);
  if (!in) return std::nullopt;
  std::set<std::string> catalogs;
  for (std::string line; std::getline(in, line);) catalogs.insert(line);
  return catalogs;
}

}  // namespace

missing_copies missing_copies_of(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec) {
  missing_copies missing;
  const auto known = recorded(layout);
  for (std::string& catalog : layout.without_copy(fs, spec)) {
    const bool had = !known || known->contains(catalog);
    (had ? missing.lost : missing.first).push_back(std::move(catalog));
  }
  const auto named = std::count_if(spec.databases().begin(), spec.databases().end(),
                                   [](const auto& database) { return !database.found(); });
  if (static_cast<std::size_t>(named) == missing.first.size())
    missing.lost = std::exchange(missing.first, {});
  return missing;
}

absl::Status note_copied(os::file_system& fs, const copy_layout& layout, const v1::ServerSpec& spec,
                         const std::set<std::string>& catalogs, const std::set<std::string>& gone) {
  const auto known = recorded(layout);
  std::string text;
  std::set<std::string> now;
  for (const auto& database : spec.databases()) {
    if (database.found() || gone.contains(database.catalog())) continue;
    if (!known || known->contains(database.catalog()) || catalogs.contains(database.catalog()))
      now.insert(database.catalog());
  }
  if (known == now) return absl::OkStatus();
  for (const std::string& catalog : now) text += catalog + "\n";
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, fs.open_root(layout.directory()));
  return os::replace_file(*directory, record, text);
}

std::set<std::string> never_copied(const v1::ServerSpec& spec, const std::vector<store::freeze_row>& frozen) {
  std::set<std::string> catalogs;
  for (const auto& database : spec.databases()) {
    const bool had = std::any_of(frozen.begin(), frozen.end(),
                                 [&](const auto& row) { return row.catalog == database.catalog(); });
    if (!database.found() && !had) catalogs.insert(database.catalog());
  }
  return catalogs;
}

}  // namespace understudy::server
