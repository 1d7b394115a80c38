#include "agent-failover/ctl/secret.hpp"

#include <cerrno>
#include <fstream>

#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "common/status/errno_status.hpp"

namespace understudy::ctl {

absl::StatusOr<std::string> read_secret(terminal& screen, const std::string& question,
                                        const std::string& file) {
  std::string secret;
  if (file == "-") {
    secret = read_input_line().value_or("");
  } else if (!file.empty()) {
    std::ifstream stream{file};
    if (!stream) return errno_status(errno, "open", file);
    std::getline(stream, secret);
  } else if (screen.can_ask()) {
    secret = screen.ask_secret(question).value_or("");
  } else {
    return with_hint(absl::InvalidArgumentError("there is no terminal to ask for the password on"),
                     "give --password-file FILE, or --password-file - to read it from stdin");
  }
  if (interrupted()) return absl::CancelledError("interrupted");
  if (secret.ends_with('\r')) secret.pop_back();
  if (secret.empty()) return absl::InvalidArgumentError("the password is empty");
  return secret;
}

}  // namespace understudy::ctl
