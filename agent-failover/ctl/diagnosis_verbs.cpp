// doctor, support-bundle, version, completion

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>

#include "agent-failover/ctl/completion.hpp"
#include "agent-failover/ctl/doctor.hpp"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "agent-failover/ctl/version.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

void append(std::vector<finding>* all, std::vector<finding> more) {
  all->insert(all->end(), more.begin(), more.end());
}

verb_result doctor(session& s, bool pre) {
  std::vector<finding> found;
  if (pre) {
    found = findings_before_install();
  } else {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto host, s.host());
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto versions, s.ask<v1::GetVersionResponse>(v1::GetVersionRequest{}));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto status, s.ask<v1::GetStatusResponse>(v1::GetStatusRequest{}));
    found.push_back({"failover host", "connection", verdict::ok, host, ""});
    append(&found, findings_of(versions, program_version()));
    append(&found, findings_of(status));
    for (const auto& state : status.servers()) {
      v1::TestServerRequest request;
      request.set_server(state.name());
      const auto test = s.ask<v1::TestServerResponse>(request, session::LONG_PATIENCE);
      if (interrupted()) return absl::CancelledError("interrupted");
      if (test.ok()) {
        append(&found, findings_of(state.name(), *test));
      } else {
        // One server that cannot be tested must not hide the others.
        found.push_back(
            {"server " + state.name(), "test", verdict::failed, std::string{message_of(test.status())}, ""});
      }
    }
  }
  const bool failed =
      std::any_of(found.begin(), found.end(), [](const auto& f) { return f.result == verdict::failed; });
  return show(s, doctor_document(found), doctor_view(found, view_of(s)),
              failed ? exit_code::degraded : exit_code::ok);
}

std::string bundle_name() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[64];
  std::strftime(text, sizeof text, "understudy-support-%Y%m%d-%H%M%S.tar", &utc);
  return text;
}

absl::Status write_all(int fd, const std::string& bytes, const std::string& path) {
  for (std::size_t done = 0; done < bytes.size();) {
    const auto written = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno != EINTR) return errno_status(errno, "write", path);
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  return absl::OkStatus();
}

verb_result support_bundle(session& s, std::string path) {
  const bool to_stdout = path == "-";
  if (to_stdout && s.screen().out_is_tty())
    return absl::InvalidArgumentError("a tar archive does not belong on a terminal");
  if (path.empty()) path = bundle_name();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto stream, s.open(v1::SupportBundleRequest{}));
  v1::SupportBundleResponse part;
  os::unique_fd file;
  std::uint64_t total = 0;
  auto got = rpc_stream::item::idle;
  while ((got = stream->next(&part, std::chrono::seconds{1})) != rpc_stream::item::end) {
    if (got == rpc_stream::item::idle) continue;
    if (!to_stdout && !file) {
      // Created at the first part: a refused call leaves nothing behind.
      file.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!file) return errno_status(errno, "create", path);
    }
    UNDERSTUDY_RETURN_IF_ERROR(write_all(to_stdout ? STDOUT_FILENO : file.value(), part.chunk(), path));
    total += part.chunk().size();
    s.screen().progress(bytes_text(total));
  }
  s.screen().end_progress();
  if (!stream->status().ok()) {
    if (file) ::unlink(path.c_str());
    return stream->status();
  }
  if (total == 0) return absl::InternalError("the failover host sent an empty archive");
  if (!to_stdout) s.screen().out(path + "\n");
  return exit_code::ok;
}

verb_result version(session& s) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::GetVersionResponse>(v1::GetVersionRequest{}));
  auto text = version_line() + "\nfailover host " + printable(answer.version()) + "\n";
  const std::map<std::string, std::string> sorted{answer.agents().begin(), answer.agents().end()};
  for (const auto& [server, agent] : sorted)
    text += fmt::format("agent of {} {}\n", printable(server), printable(agent));
  for (const auto& found : findings_of(answer, program_version())) {
    if (found.result != verdict::ok)
      s.screen().err(fmt::format("warning: {}: {}\n", printable(found.detail), found.hint));
  }
  return show(s, answer, text);
}

}  // namespace

void add_diagnosis_verbs(CLI::App& root, session& s) {
  auto pre = std::make_shared<bool>(false);
  auto* doctor_verb = root.add_subcommand(
      "doctor", "look for what would prevent a takeover; exit code 3 if there is something");
  doctor_verb->add_flag("--pre", *pre, "before the installation: can this machine be a failover host?");
  on(doctor_verb, s, [&s, pre] { return doctor(s, *pre); });

  auto path = std::make_shared<std::string>();
  auto* bundle = root.add_subcommand("support-bundle",
                                     "all that somebody who helps needs, without secrets, as a tar file");
  bundle->add_option("--to", *path, "the file to write, - for stdout");
  on(bundle, s, [&s, path] { return support_bundle(s, *path); });

  on(root.add_subcommand("version", "versions of this program, the failover host and its agents"), s,
     [&s] { return version(s); });

  auto shell = std::make_shared<std::string>();
  auto* completion =
      root.add_subcommand("completion", "print a completion script: source <(understudyctl completion bash)");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  on(completion, s, [&s, &root, shell]() -> verb_result {
    s.screen().out(completion_script(root, *shell));
    return exit_code::ok;
  });
}

}  // namespace understudy::ctl
