#pragma once

// The log of both daemons: one line per event, to stderr or, under systemd, to the journal. Any thread.

#include <fmt/core.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace understudy::log {

enum class level {
  debug,    // for developers: per message, per transaction
  info,     // what an operator wants to see: a state changed, a copy finished
  warning,  // works, but something should be looked at
  error,    // something asked for did not happen
};

struct line {
  level severity = level::info;
  std::string subject;  // a server or database name; empty: the daemon itself
  std::string text;
};

// `to_journal`: use the journal's priorities (<6>…) instead of a time stamp in front of each line.
void start(level least, bool to_journal);

void write(level severity, std::string_view subject, std::string_view text);

// One more receiver of every line at `info` and above (the live log). Called under no lock of ours, on the
// writing thread; it must be quick and must not log. An empty function takes it away.
void set_listener(std::function<void(const line&)> listener);

// log::info(server, "took over in {} ms", elapsed_ms)
template <class... Args>
void debug(std::string_view subject, fmt::format_string<Args...> format, Args&&... args) {
  write(level::debug, subject, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(std::string_view subject, fmt::format_string<Args...> format, Args&&... args) {
  write(level::info, subject, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(std::string_view subject, fmt::format_string<Args...> format, Args&&... args) {
  write(level::warning, subject, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(std::string_view subject, fmt::format_string<Args...> format, Args&&... args) {
  write(level::error, subject, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace understudy::log
