#include "common/rows/create_table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "common/rows/sql_tokens.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::rows {
namespace {

constexpr std::size_t most_columns = 32767;  // SQLite's own limit

// The tokens of one definition, or of the whole statement, taken from the front.
class cursor {
 public:
  cursor(const token* at, const token* end) : at_(at), end_(end) {}

  bool done() const { return at_ == end_; }
  const token* position() const { return at_; }
  const token& peek() const { return *at_; }
  const token& take() { return *at_++; }
  bool take(std::string_view keyword) {
    if (done() || !at_->is(keyword)) return false;
    ++at_;
    return true;
  }
  bool take(char mark) {
    if (done() || !at_->is(mark)) return false;
    ++at_;
    return true;
  }
  void skip_name() {
    if (!done()) ++at_;
  }
  // What stands in parentheses here, without them. The statement was checked to have them in pairs.
  cursor parenthesised() {
    const token* begin = ++at_;
    for (int depth = 1; !done(); ++at_) {
      if (at_->is('(')) ++depth;
      if (at_->is(')') && --depth == 0) return {begin, at_++};
    }
    return {begin, at_};
  }
  // Up to the next comma outside of parentheses, or the end.
  cursor definition() {
    const token* begin = at_;
    for (int depth = 0; !done(); ++at_) {
      if (at_->is('(')) ++depth;
      if (at_->is(')')) --depth;
      if (at_->is(',') && depth == 0) return {begin, at_++};
    }
    return {begin, at_};
  }

 private:
  const token* at_;
  const token* end_;
};

bool balanced(const std::vector<token>& tokens) {
  int depth = 0;
  for (const token& t : tokens) {
    if (t.is('(')) ++depth;
    if (t.is(')') && --depth < 0) return false;
  }
  return depth == 0;
}

// The words that begin a column's constraint and so end its type.
bool begins_constraint(const token& t) {
  static constexpr std::string_view words[] = {"CONSTRAINT", "PRIMARY",    "NOT",     "NULL",
                                               "UNIQUE",     "CHECK",      "DEFAULT", "COLLATE",
                                               "REFERENCES", "DEFERRABLE", "AS"};
  return std::any_of(std::begin(words), std::end(words), [&](std::string_view w) { return t.is(w); });
}

// The value of a literal, as SQLite gives it to records that are older than the column.
std::optional<value> literal(const token& t, bool negative, affinity kind) {
  if (t.kind == token_kind::number) {
    std::string digits = (negative ? "-" : "") + t.text;
    if (digits.find_first_of("xX") != std::string::npos) {
      std::int64_t hex = 0;
      const char* begin = t.text.data() + 2;
      const auto parsed = std::from_chars(begin, t.text.data() + t.text.size(), hex, 16);
      if (parsed.ec != std::errc() || hex > INT32_MAX) return std::nullopt;
      digits = fmt::format("{}", negative ? -hex : hex);
    }
    // Small integers are numbers to SQLite at once, all other numbers are texts that the affinity makes
    // numbers.
    std::int32_t small = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), small);
    if (parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size()) {
      return with_affinity(std::int64_t{small}, kind);
    }
    return with_affinity(text_value{digits}, kind == affinity::blob ? affinity::numeric : kind);
  }
  if (negative) return std::nullopt;
  if (t.kind == token_kind::blob) return value(blob_value{t.text});
  if (t.is("NULL")) return value();
  if (t.is("TRUE") || t.is("FALSE")) return with_affinity(std::int64_t{t.is("TRUE")}, kind);
  if (t.is("CURRENT_TIME") || t.is("CURRENT_DATE") || t.is("CURRENT_TIMESTAMP")) return std::nullopt;
  if (t.name()) return with_affinity(text_value{t.text}, kind);
  return std::nullopt;
}

// The expression of a DEFAULT. nullopt: not a literal; ALTER TABLE takes hardly any of those, so records that
// lack the column cannot be read then, but all others can.
std::optional<value> default_of(cursor expression, affinity kind) {
  bool negative = false;
  while (!expression.done()) {
    if (expression.take('+')) continue;
    if (expression.take('-')) {
      negative = !negative;
    } else if (expression.peek().is('(')) {
      cursor inner = expression.parenthesised();
      if (!expression.done()) return std::nullopt;
      expression = inner;
    } else {
      const token& only = expression.take();
      return expression.done() ? literal(only, negative, kind) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// What is known of a key while the definitions are read.
struct key_column {
  std::string name;
  bool collated = false;
  bool descending = false;
};

class reader {
 public:
  reader(std::string_view name, std::string_view sql) : sql_(sql) { table_.name = name; }

  absl::StatusOr<table> read() {
    const auto tokens = tokens_of(sql_);
    if (!tokens || !balanced(*tokens)) return not_understood("its text");
    cursor statement(tokens->data(), tokens->data() + tokens->size());
    while (!statement.done() && !statement.peek().is('(')) statement.take();
    if (statement.done()) return not_understood("its text");
    cursor body = statement.parenthesised();
    while (!statement.done()) options(statement.take());

    bool constraints = false;
    while (!body.done()) {
      cursor definition = body.definition();
      if (definition.done()) return not_understood("an empty definition");
      const token& first = definition.peek();
      constraints = constraints || first.is("CONSTRAINT") || first.is("PRIMARY") || first.is("UNIQUE") ||
                    first.is("CHECK") || first.is("FOREIGN");
      if (constraints) {
        table_constraint(definition);
      } else {
        UNDERSTUDY_RETURN_IF_ERROR(read_column(definition));
      }
    }
    if (strict_) {
      for (std::size_t i = 0; i < table_.columns.size(); ++i) {
        if (same_name(types_[i], "ANY")) table_.columns[i].kind = affinity::blob;
      }
    }
    table_.sql = sql_;
    UNDERSTUDY_RETURN_IF_ERROR(order_columns());
    return std::move(table_);
  }

 private:
  absl::Status not_understood(std::string_view what) const {
    return absl::UnimplementedError(fmt::format("table {}: {} is not understood", table_.name, what));
  }

  void options(const token& t) {
    if (t.is("ROWID")) table_.without_rowid = true;
    if (t.is("STRICT")) strict_ = true;
  }

  absl::Status read_column(cursor& definition) {
    if (!definition.peek().name() || table_.columns.size() == most_columns) return not_understood("a column");
    column added;
    added.name = definition.take().text;
    const std::string type = read_type(definition);
    added.kind = affinity_of(type);
    std::optional<cursor> default_text;
    while (!definition.done()) {
      if (definition.take("CONSTRAINT") || definition.take("COLLATE") || definition.take("REFERENCES")) {
        definition.skip_name();
      } else if (definition.take("SET")) {  // REFERENCES ... ON DELETE SET DEFAULT
        definition.skip_name();
      } else if (definition.take("PRIMARY")) {
        definition.take("KEY");
        const bool descending = definition.take("DESC");
        has_key_ = true;
        key_ = {{.name = added.name, .collated = false, .descending = descending}};
        key_is_alias_ = same_name(type, "INTEGER") && !descending;
      } else if (definition.take("DEFAULT")) {
        default_text = read_default(definition);
      } else if (definition.take("AS")) {
        if (definition.done() || !definition.peek().is('(')) return not_understood("a generated column");
        definition.parenthesised();
        added.computed = !definition.take("STORED");
      } else if (definition.peek().is('(')) {
        definition.parenthesised();
      } else {
        definition.take();
      }
    }
    if (default_text) added.when_absent = default_of(*default_text, added.kind);
    table_.columns.push_back(std::move(added));
    types_.push_back(type);
    return absl::OkStatus();
  }

  std::string read_type(cursor& definition) {
    std::size_t begin = 0, end = 0;
    while (!definition.done() && definition.peek().name() && !begins_constraint(definition.peek())) {
      const token& t = definition.take();
      if (end == 0) begin = t.begin;
      end = t.end;
    }
    if (end == 0) return {};
    std::string_view type = sql_.substr(begin, end - begin);
    // SQLite, too, first takes GENERATED ALWAYS for a part of the type.
    const auto without = [&](std::string_view word) {
      if (type.size() < word.size() || !same_name(type.substr(type.size() - word.size()), word)) return false;
      type = trimmed(type.substr(0, type.size() - word.size()));
      return true;
    };
    if (!definition.done() && definition.peek().is("AS") && without("ALWAYS")) without("GENERATED");
    return std::string(type);
  }

  // The tokens of the default: what stands in parentheses, or a term with its signs.
  static cursor read_default(cursor& definition) {
    if (!definition.done() && definition.peek().is('(')) return definition.parenthesised();
    const token* begin = definition.position();
    while (definition.take('+') || definition.take('-')) {
    }
    definition.skip_name();
    return {begin, definition.position()};
  }

  void table_constraint(cursor& definition) {
    while (!definition.done()) {
      if (definition.take("PRIMARY")) {
        definition.take("KEY");
        if (definition.done() || !definition.peek().is('(')) continue;
        cursor list = definition.parenthesised();
        has_key_ = true;
        key_.clear();
        while (!list.done()) {
          cursor item = list.definition();
          key_column added;
          if (!item.done()) added.name = item.take().text;
          while (!item.done()) {
            if (item.peek().is("COLLATE")) added.collated = true;
            item.take();
          }
          key_.push_back(std::move(added));
        }
        // Here, unlike at the column, DESC does not keep it from being the rowid.
        key_is_alias_ =
            key_.size() == 1 && type_of(key_[0].name) && same_name(*type_of(key_[0].name), "INTEGER");
      } else if (definition.take("CONSTRAINT")) {
        definition.skip_name();
      } else if (definition.peek().is('(')) {
        definition.parenthesised();
      } else {
        definition.take();
      }
    }
  }

  std::optional<std::size_t> find(std::string_view name) const {
    for (std::size_t i = 0; i < table_.columns.size(); ++i) {
      if (same_name(table_.columns[i].name, name)) return i;
    }
    return std::nullopt;
  }
  const std::string* type_of(std::string_view name) const {
    const auto at = find(name);
    return at ? &types_[*at] : nullptr;
  }

  // https://sqlite.org/withoutrowid.html: the key's columns first, without repetitions, then the others.
  absl::Status order_columns() {
    if (table_.without_rowid) {
      if (!has_key_) return not_understood("a WITHOUT ROWID table that has no key");
      for (const key_column& k : key_) {
        const auto at = find(k.name);
        if (!at) return not_understood("its key");
        if (std::find(table_.stored.begin(), table_.stored.end(), *at) != table_.stored.end()) {
          // With another collation it would be stored twice.
          if (std::any_of(key_.begin(), key_.end(), [](const key_column& c) { return c.collated; })) {
            return not_understood("a key that names a column twice");
          }
          continue;
        }
        table_.stored.push_back(*at);
      }
      table_.key_columns = table_.stored.size();
    } else if (has_key_ && key_is_alias_) {
      table_.rowid_alias = find(key_[0].name);
    }
    for (std::size_t i = 0; i < table_.columns.size(); ++i) {
      const bool in_key = std::find(table_.stored.begin(), table_.stored.begin() + table_.key_columns, i) !=
                          table_.stored.begin() + table_.key_columns;
      if (!in_key && !table_.columns[i].computed) table_.stored.push_back(i);
    }
    return absl::OkStatus();
  }

  std::string_view sql_;
  table table_;
  std::vector<std::string> types_;  // as declared, by column
  std::vector<key_column> key_;
  bool has_key_ = false;
  bool key_is_alias_ = false;
  bool strict_ = false;
};

}  // namespace

absl::StatusOr<table> parse_create_table(std::string_view name, std::string_view sql) {
  return reader(name, sql).read();
}

}  // namespace understudy::rows
