#include "common/config/toml_document.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>

#include "common/status/errno_status.hpp"

namespace understudy::config {
namespace {

struct located_problem {
  toml::source_position at;
  std::string text;
};

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a number";
    case toml::node_type::floating_point:
      return "a fractional number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

constexpr std::size_t largest_file_bytes = 4u << 20;  // a configuration is kilobytes; more is a wrong path

}  // namespace

struct toml_table::table_view {
  const toml::table* table = nullptr;  // null: the table is absent
  toml::source_position at;
  std::vector<std::string> asked;
};

struct toml_table::document_state {
  std::string file;
  toml::table root;
  std::vector<located_problem> problems;
  std::vector<std::shared_ptr<table_view>> views;

  std::shared_ptr<table_view> open(const toml::table* table, toml::source_position at) {
    for (const std::shared_ptr<table_view>& known : views) {
      if (table != nullptr && known->table == table) return known;
    }
    views.push_back(std::make_shared<table_view>(table_view{table, at, {}}));
    return views.back();
  }
  void add(toml::source_position at, std::string text) { problems.push_back({at, std::move(text)}); }
};

namespace {

// The node of `key`, noting that the key is valid.
const toml::node* find(toml_table::table_view& view, std::string_view key) {
  if (std::find(view.asked.begin(), view.asked.end(), key) == view.asked.end()) view.asked.emplace_back(key);
  return view.table == nullptr ? nullptr : view.table->get(key);
}

void wrong_type(toml_table::document_state& state, const toml::node& node, std::string_view key,
                std::string_view wanted) {
  state.add(node.source().begin, fmt::format("\"{}\" must be {}, not {}", key, wanted, type_name(node)));
}

}  // namespace

toml_table::toml_table(std::shared_ptr<document_state> state, std::shared_ptr<table_view> view)
    : state_(std::move(state)), view_(std::move(view)) {}

bool toml_table::has(std::string_view key) const {
  return find(*view_, key) != nullptr;
}

std::string toml_table::text(std::string_view key, std::string_view fallback) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return std::string(fallback);
  if (const auto* value = node->as_string()) return value->get();
  wrong_type(*state_, *node, key, "a string");
  return std::string(fallback);
}

std::string toml_table::required_text(std::string_view key) {
  if (!has(key)) {
    state_->add(view_->at, fmt::format("\"{}\" is missing", key));
    return "";
  }
  std::string value = text(key);
  if (value.empty() && view_->table->get(key)->is_string())
    problem(key, fmt::format("\"{}\" must not be empty", key));
  return value;
}

std::string toml_table::path(std::string_view key, std::string_view fallback) {
  std::string value = text(key, fallback);
  if (value.empty()) return value;
  if (value.front() != '/') {
    problem(key, fmt::format("\"{}\" must be an absolute path, not \"{}\"", key, value));
    return std::string(fallback);
  }
  std::string normal;
  std::istringstream parts(value);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      problem(key, fmt::format("\"{}\" must not contain \"..\"", key));
      return std::string(fallback);
    }
    normal += "/" + part;
  }
  return normal.empty() ? "/" : normal;
}

bool toml_table::flag(std::string_view key, bool fallback) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return fallback;
  if (const auto* value = node->as_boolean()) return value->get();
  wrong_type(*state_, *node, key, "true or false");
  return fallback;
}

std::int64_t toml_table::integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                                 std::int64_t most) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return fallback;
  const auto* value = node->as_integer();
  if (value == nullptr) {
    wrong_type(*state_, *node, key, "a whole number");
    return fallback;
  }
  if (value->get() < least || value->get() > most) {
    problem(key, fmt::format("\"{}\" must be from {} to {}, not {}", key, least, most, value->get()));
    return fallback;
  }
  return value->get();
}

std::chrono::milliseconds toml_table::duration(std::string_view key, std::chrono::milliseconds fallback,
                                               std::chrono::milliseconds least,
                                               std::chrono::milliseconds most) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return fallback;
  const auto* value = node->as_string();
  if (value == nullptr) {
    wrong_type(*state_, *node, key, "a duration such as \"60s\"");
    return fallback;
  }
  const std::optional<std::chrono::milliseconds> parsed = parse_duration(value->get());
  if (!parsed) {
    problem(key,
            fmt::format("\"{}\" must be a duration such as \"250ms\", \"60s\", \"5m\" or \"4h\", not \"{}\"",
                        key, value->get()));
    return fallback;
  }
  if (*parsed < least || *parsed > most) {
    problem(key,
            most == std::chrono::milliseconds::max()
                ? fmt::format("\"{}\" must be at least {}, not {}", key, format_duration(least), value->get())
                : fmt::format("\"{}\" must be from {} to {}, not {}", key, format_duration(least),
                              format_duration(most), value->get()));
    return fallback;
  }
  return *parsed;
}

std::vector<std::string> toml_table::texts(std::string_view key) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return {};
  const toml::array* array = node->as_array();
  if (array == nullptr) {
    wrong_type(*state_, *node, key, "an array of strings");
    return {};
  }
  std::vector<std::string> result;
  for (const toml::node& element : *array) {
    if (const auto* value = element.as_string()) {
      result.push_back(value->get());
    } else {
      wrong_type(*state_, element, key, "an array of strings");
    }
  }
  return result;
}

std::string toml_table::choice(std::string_view key, const std::vector<std::string>& words) {
  std::string value = text(key, words.front());
  if (std::find(words.begin(), words.end(), value) != words.end()) return value;
  const std::optional<std::string> near = nearest_word(value, words);
  problem(key, fmt::format("\"{}\" must be one of {}, not \"{}\"{}", key, fmt::join(words, ", "), value,
                           near ? fmt::format("; did you mean \"{}\"?", *near) : ""));
  return words.front();
}

toml_table toml_table::table(std::string_view key) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return {state_, state_->open(nullptr, view_->at)};
  const toml::table* child = node->as_table();
  if (child == nullptr) wrong_type(*state_, *node, key, "a table");
  return {state_, state_->open(child, node->source().begin)};
}

std::vector<toml_table> toml_table::tables(std::string_view key) {
  const toml::node* node = find(*view_, key);
  if (node == nullptr) return {};
  const toml::array* array = node->as_array();
  if (array == nullptr) {
    wrong_type(*state_, *node, key, fmt::format("an array of tables, [[{}]]", key));
    return {};
  }
  std::vector<toml_table> result;
  for (const toml::node& element : *array) {
    const toml::table* child = element.as_table();
    if (child == nullptr) {
      wrong_type(*state_, element, key, fmt::format("an array of tables, [[{}]]", key));
      continue;
    }
    result.push_back({state_, state_->open(child, element.source().begin)});
  }
  return result;
}

void toml_table::problem(std::string_view key, std::string_view reason) {
  const toml::node* node = find(*view_, key);
  state_->add(node == nullptr ? view_->at : node->source().begin, std::string(reason));
}

toml_document::toml_document(std::shared_ptr<toml_table::document_state> state) : state_(std::move(state)) {}

absl::StatusOr<toml_document> toml_document::read(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return errno_status(errno, "open", file);
  std::string content(largest_file_bytes + 1, '\0');
  errno = 0;
  stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (stream.bad() || errno != 0) return errno_status(errno == 0 ? EIO : errno, "read", file);
  content.resize(static_cast<std::size_t>(stream.gcount()));
  if (content.size() > largest_file_bytes) {
    return absl::InvalidArgumentError(fmt::format("{}:1:1: larger than {} bytes", file, largest_file_bytes));
  }
  return parse(content, file);
}

absl::StatusOr<toml_document> toml_document::parse(std::string_view content, const std::string& file_name) {
  auto state = std::make_shared<toml_table::document_state>();
  state->file = file_name;
  try {
    state->root = toml::parse(content, file_name);
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    return absl::InvalidArgumentError(
        fmt::format("{}:{}:{}: {}", file_name, at.line, at.column, error.description()));
  }
  return toml_document(std::move(state));
}

toml_table toml_document::root() {
  return {state_, state_->open(&state_->root, {1, 1})};
}

std::vector<std::string> toml_document::problems() const {
  std::vector<located_problem> all = state_->problems;
  for (const std::shared_ptr<toml_table::table_view>& view : state_->views) {
    if (view->table == nullptr) continue;
    for (const auto& [key, node] : *view->table) {
      const std::string name(key.str());
      if (std::find(view->asked.begin(), view->asked.end(), name) != view->asked.end()) continue;
      const std::optional<std::string> near = nearest_word(name, view->asked);
      const toml::source_position key_at = key.source().begin;
      all.push_back(
          {key_at.line != 0 ? key_at : node.source().begin,
           near ? fmt::format("unknown key \"{}\"; did you mean \"{}\"?", name, *near)
                : fmt::format("unknown key \"{}\"; valid here: {}", name, fmt::join(view->asked, ", "))});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const located_problem& a, const located_problem& b) {
    return std::pair(a.at.line, a.at.column) < std::pair(b.at.line, b.at.column);
  });
  std::vector<std::string> result;
  for (const located_problem& p : all) {
    std::string line = fmt::format("{}:{}:{}: {}", state_->file, p.at.line, p.at.column, p.text);
    if (std::find(result.begin(), result.end(), line) == result.end()) result.push_back(std::move(line));
  }
  return result;
}

absl::Status toml_document::finish() const {
  const std::vector<std::string> all = problems();
  if (all.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{}", fmt::join(all, "\n")));
}

}  // namespace understudy::config
