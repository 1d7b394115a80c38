#include "agent-failover/ctl/terminal.hpp"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "agent-failover/ctl/interrupt.hpp"

namespace understudy::ctl {

namespace {

constexpr std::size_t LONGEST_LINE = 4096;  // bytes; nobody types more, and a pipe must not fill the memory

// Restores the echo however the reading ends.
class echo_off {
 public:
  echo_off() {
    if (::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag |= ECHONL;
    changed_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  ~echo_off() {
    if (changed_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  echo_off(const echo_off&) = delete;
  echo_off& operator=(const echo_off&) = delete;

 private:
  termios before_{};
  bool changed_ = false;
};

}  // namespace

std::optional<std::string> read_input_line() {
  // Byte by byte: what follows the line belongs to the next reader.
  std::string line;
  while (line.size() <= LONGEST_LINE) {
    char c = 0;
    const auto got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR && !interrupted()) continue;
    if (got <= 0) return !line.empty() && got == 0 ? std::optional{line} : std::nullopt;
    if (c == '\n') return line;
    line += c;
  }
  return std::nullopt;
}

terminal::terminal(const environment& variable)
    : in_is_tty_(::isatty(STDIN_FILENO) == 1),
      out_is_tty_(::isatty(STDOUT_FILENO) == 1),
      err_is_tty_(::isatty(STDERR_FILENO) == 1) {
  const auto no_color = variable("NO_COLOR");
  const bool wanted = (!no_color || no_color->empty()) && variable("TERM").value_or("dumb") != "dumb";
  colored_ = wanted && out_is_tty_;
  colored_errors_ = wanted && err_is_tty_;
}

std::size_t terminal::width() const {
  if (!out_is_tty_) return 0;
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col : 0;
}

void terminal::out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) failed_ = true;
}

void terminal::out_screen(std::string_view text) {
  out("\x1b[H\x1b[2J");
  out(text);
  flush();
}

void terminal::err(std::string_view text) {
  end_progress();
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void terminal::progress(std::string_view line) {
  if (!err_is_tty_) return;
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  // A line that wraps cannot be replaced.
  if (known && line.size() >= size.ws_col) line = line.substr(0, size.ws_col - 1U);
  std::fprintf(stderr, "\r\x1b[K%.*s", static_cast<int>(line.size()), line.data());
  std::fflush(stderr);
  progress_shown_ = true;
}

void terminal::end_progress() {
  if (!progress_shown_) return;
  progress_shown_ = false;
  std::fputs("\r\x1b[K", stderr);
}

std::optional<std::string> terminal::ask(std::string_view question) {
  err(question);
  std::fflush(stderr);
  return read_input_line();
}

std::optional<std::string> terminal::ask_secret(std::string_view question) {
  err(question);
  std::fflush(stderr);
  const echo_off quiet;
  return read_input_line();
}

bool terminal::flush() {
  if (std::fflush(stdout) != 0) failed_ = true;
  return !failed_;
}

}  // namespace understudy::ctl
