#pragma once

// Strict TOML: a configuration is read by asking for each key with its type and range; whatever was not asked
// for is an error, with the nearest valid key. Problems are collected, not thrown, so that one `--check`
// shows all:
//
//   /etc/understudy/agent.toml:3:1: unknown key "lisen"; did you mean "listen"?
//
// Not thread-safe; a toml_table stays valid as long as its document's state, which it shares.

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::config {

class toml_table {
 public:
  struct document_state;
  struct table_view;
  toml_table(std::shared_ptr<document_state> state, std::shared_ptr<table_view> view);

  bool has(std::string_view key) const;

  // Each returns the value, or the fallback when the key is absent or wrong (then a problem is recorded).
  std::string text(std::string_view key, std::string_view fallback = "");
  std::string required_text(std::string_view key);
  // An absolute, normalised path without "." and ".." components; empty only if `fallback` is.
  std::string path(std::string_view key, std::string_view fallback = "");
  bool flag(std::string_view key, bool fallback);
  std::int64_t integer(std::string_view key, std::int64_t fallback,
                       std::int64_t least = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t most = std::numeric_limits<std::int64_t>::max());
  // "250ms", "60s", "5m", "4h", "2d"; a bare number is refused, for it has no unit.
  std::chrono::milliseconds duration(std::string_view key, std::chrono::milliseconds fallback,
                                     std::chrono::milliseconds least = std::chrono::milliseconds{0},
                                     std::chrono::milliseconds most = std::chrono::milliseconds::max());
  std::vector<std::string> texts(std::string_view key);
  // One of the words; the first is the fallback.
  std::string choice(std::string_view key, const std::vector<std::string>& words);

  // A sub-table; an absent one reads as empty.
  toml_table table(std::string_view key);
  // [[key]] or key = [ {...}, ... ]; empty when absent.
  std::vector<toml_table> tables(std::string_view key);

  // Records a problem of the caller's own at this key (or at the table, when it has no such key).
  void problem(std::string_view key, std::string_view reason);

 private:
  std::shared_ptr<document_state> state_;
  std::shared_ptr<table_view> view_;
};

class toml_document {
 public:
  // Fails with `file:line:column: reason` when it is not TOML at all, or with the errno when it cannot be
  // read.
  static absl::StatusOr<toml_document> read(const std::string& file);
  static absl::StatusOr<toml_document> parse(std::string_view content, const std::string& file_name);

  toml_table root();
  // All problems so far, in the order of the file, unknown keys of every table asked for included; empty:
  // sound.
  std::vector<std::string> problems() const;
  // OK, or kInvalidArgument with one problem per line.
  absl::Status finish() const;

 private:
  explicit toml_document(std::shared_ptr<toml_table::document_state> state);
  std::shared_ptr<toml_table::document_state> state_;
};

// "250ms" → 250 ms. Nothing when it is not a duration.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
// The shortest exact form: "90s", "4h", "250ms".
std::string format_duration(std::chrono::milliseconds duration);

// The word of `valid` nearest to `word`, if it is near enough to be meant.
std::optional<std::string> nearest_word(std::string_view word, const std::vector<std::string>& valid);

}  // namespace understudy::config
