#include "common/rows/schema.hpp"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <fmt/core.h>

#include <algorithm>

#include "common/rows/btree_page.hpp"
#include "common/rows/create_table.hpp"
#include "common/rows/record.hpp"
#include "common/rows/sql_tokens.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::rows {
namespace {

constexpr std::uint64_t longest_sql = 1 << 20;  // bytes; a longer statement is not understood
constexpr std::size_t most_schema_bytes = 64 << 20;
constexpr char schema_sql[] =
    "CREATE TABLE sqlite_schema(type text,name text,tbl_name text,rootpage int,sql text)";

std::string text_of(value& v) {
  auto* text = std::get_if<text_value>(&v);
  return text != nullptr ? std::move(text->bytes) : std::string();
}

// All rows of the tree at page 1.
absl::StatusOr<std::vector<schema_object>> read_objects(image& from) {
  std::vector<schema_object> objects;
  if (from.pages() == 0) return objects;
  std::vector<std::uint32_t> waiting{1};
  absl::flat_hash_set<std::uint32_t> seen{1};
  std::size_t bytes = 0;
  const auto descend = [&](std::uint32_t child) {
    if (!seen.insert(child).second) return corrupt(fmt::format("page {} is used twice", child));
    waiting.push_back(child);
    return absl::OkStatus();
  };
  while (!waiting.empty()) {
    const std::uint32_t number = waiting.back();
    waiting.pop_back();
    UNDERSTUDY_ASSIGN_OR_RETURN(const image::page page, from.read(number));
    UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page parsed,
                                parse_page(*page, from.usable(), number == 1, tree_kind::table));
    for (const cell& c : parsed.cells) {
      if (!parsed.leaf) {
        UNDERSTUDY_RETURN_IF_ERROR(descend(c.child));
        continue;
      }
      UNDERSTUDY_ASSIGN_OR_RETURN(auto row, read_record({from, page, c}, from.text(), 5, longest_sql));
      row.resize(5);
      const auto* root = std::get_if<std::int64_t>(&row[3]);
      schema_object object{.type = text_of(row[0]),
                           .name = text_of(row[1]),
                           .table_name = text_of(row[2]),
                           .root = root != nullptr && *root > 0 && *root <= from.pages()
                                       ? static_cast<std::uint32_t>(*root)
                                       : 0,
                           .sql = text_of(row[4])};
      bytes += object.name.size() + object.sql.size() + sizeof object;
      if (bytes > most_schema_bytes) return corrupt("a schema of more than 64 MiB");
      objects.push_back(std::move(object));
    }
    if (!parsed.leaf) UNDERSTUDY_RETURN_IF_ERROR(descend(parsed.right_child));
  }
  std::sort(objects.begin(), objects.end(), [](const schema_object& a, const schema_object& b) {
    return std::tie(a.type, a.name) < std::tie(b.type, b.name);
  });
  return objects;
}

stored_table understand(const schema_object& object) {
  stored_table understood{.shape = nullptr, .root = object.root, .not_understood = {}};
  auto parsed = parse_create_table(object.name, object.sql);
  if (!parsed.ok()) {
    understood.not_understood = message_of(parsed.status());
    parsed = table{.name = object.name, .sql = object.sql, .columns = {}, .rowid_alias = {}, .stored = {}};
  }
  understood.shape = std::make_shared<const table>(*std::move(parsed));
  return understood;
}

}  // namespace

absl::StatusOr<schema> read_schema(image& from, const schema& known) {
  schema read;
  UNDERSTUDY_ASSIGN_OR_RETURN(read.objects, read_objects(from));
  absl::flat_hash_map<std::string, const stored_table*> known_by_name;
  for (const stored_table& t : known.tables) known_by_name.emplace(t.shape->name, &t);

  if (from.pages() > 0) {
    const auto found = known_by_name.find("sqlite_schema");
    const schema_object self{
        .type = "table", .name = "sqlite_schema", .table_name = {}, .root = 1, .sql = schema_sql};
    read.tables.push_back(found != known_by_name.end() ? *found->second : understand(self));
  }
  for (const schema_object& object : read.objects) {
    if (object.type != "table" || object.root == 0) continue;  // root 0: a virtual table
    const auto found = known_by_name.find(object.name);
    if (found != known_by_name.end() && found->second->shape->sql == object.sql) {
      read.tables.push_back(*found->second);
      read.tables.back().root = object.root;
    } else {
      read.tables.push_back(understand(object));
    }
  }
  absl::flat_hash_set<std::uint32_t> roots;
  for (const stored_table& t : read.tables) {
    if (!roots.insert(t.root).second) return corrupt(fmt::format("two tables at page {}", t.root));
  }
  return read;
}

}  // namespace understudy::rows
