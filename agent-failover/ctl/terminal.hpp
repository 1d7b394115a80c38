#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent-failover/ctl/ctl_config.hpp"

namespace understudy::ctl {

// The process's three streams. stdout carries data only; questions, progress and errors go to stderr.
class terminal {
 public:
  // Looks at the streams, NO_COLOR and TERM.
  explicit terminal(const environment& variable);

  // True when somebody can be asked: stdin and stderr are terminals.
  bool can_ask() const { return in_is_tty_ && err_is_tty_; }
  bool out_is_tty() const { return out_is_tty_; }
  bool err_is_tty() const { return err_is_tty_; }
  bool colored() const { return colored_; }
  bool colored_errors() const { return colored_errors_; }

  // Columns of stdout; 0 when it is not a terminal: nothing is cut then.
  std::size_t width() const;

  void out(std::string_view text);
  // A whole screen in place of the one before.
  void out_screen(std::string_view text);
  void err(std::string_view text);
  // One line on stderr that the next one replaces; only on a terminal.
  void progress(std::string_view line);
  void end_progress();

  // What was typed, without the newline; nullopt at the end of input or SIGINT.
  std::optional<std::string> ask(std::string_view question);
  // The same without echo.
  std::optional<std::string> ask_secret(std::string_view question);

  // False when stdout did not take everything (disk full, closed).
  bool flush();

 private:
  bool in_is_tty_;
  bool out_is_tty_;
  bool err_is_tty_;
  bool colored_ = false;
  bool colored_errors_ = false;
  bool progress_shown_ = false;
  bool failed_ = false;
};

// One line of stdin, without its newline; nullopt at the end of input, on SIGINT, or past 4096 bytes.
std::optional<std::string> read_input_line();

}  // namespace understudy::ctl
