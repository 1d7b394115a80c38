#include "agent-primary/application/child_process.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::application {
namespace {

// The child must not allocate or take a lock, for it is forked from a process with threads: everything it
// needs is laid out before.
struct prepared {
  std::vector<char*> arguments;
  std::vector<std::string> environment_text;
  std::vector<char*> environment;
  std::vector<std::string> program_paths;  // tried in order
  std::string directory;
  bool change_user = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  int output = -1;
  int null = -1;
};

enum class step : int { unshare, bind, directory, user, execute };

struct failure {
  step where = step::execute;
  int error = 0;
  int index = 0;
};

constexpr const char* default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

absl::StatusOr<prepared> prepare(const process_setup& setup) {
  prepared result;
  if (setup.command.empty() || setup.command[0].empty())
    return absl::InvalidArgumentError("the command is empty");
  for (const std::string& word : setup.command) result.arguments.push_back(const_cast<char*>(word.c_str()));
  result.arguments.push_back(nullptr);

  std::string home = "/";
  std::string shell = "/bin/sh";
  std::string user = "root";
  std::vector<char> buffer(16 << 10);
  passwd entry{};
  passwd* found = nullptr;
  if (setup.user.empty()) {
    ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);
  } else if (::getpwnam_r(setup.user.c_str(), &entry, buffer.data(), buffer.size(), &found);
             found == nullptr) {
    return absl::NotFoundError(fmt::format("there is no user \"{}\" on this machine", setup.user));
  }
  if (found != nullptr) {
    home = entry.pw_dir;
    shell = entry.pw_shell;
    user = entry.pw_name;
    if (!setup.user.empty() && (entry.pw_uid != ::geteuid() || entry.pw_gid != ::getegid())) {
      result.change_user = true;
      result.uid = entry.pw_uid;
      result.gid = entry.pw_gid;
      int count = 64;
      result.groups.resize(static_cast<std::size_t>(count));
      if (::getgrouplist(entry.pw_name, entry.pw_gid, result.groups.data(), &count) < 0) {
        result.groups.resize(static_cast<std::size_t>(count));
        ::getgrouplist(entry.pw_name, entry.pw_gid, result.groups.data(), &count);
      }
      result.groups.resize(static_cast<std::size_t>(count));
    }
  }

  std::string path = default_path;
  result.environment_text = {"HOME=" + home, "USER=" + user, "LOGNAME=" + user, "SHELL=" + shell,
                             "LANG=C.UTF-8"};
  for (const std::string& variable : setup.environment) {
    if (variable.find('=') == std::string::npos || variable.front() == '=') {
      return absl::InvalidArgumentError(fmt::format("\"{}\" is not NAME=VALUE", variable));
    }
    if (variable.starts_with("PATH=")) path = variable.substr(5);
    const std::string name = variable.substr(0, variable.find('=') + 1);
    std::erase_if(result.environment_text,
                  [&](const std::string& present) { return present.starts_with(name); });
    if (name != "PATH=") result.environment_text.push_back(variable);
  }
  result.environment_text.push_back("PATH=" + path);
  for (std::string& variable : result.environment_text) result.environment.push_back(variable.data());
  result.environment.push_back(nullptr);

  if (setup.command[0].find('/') != std::string::npos) {
    result.program_paths.push_back(setup.command[0]);
  } else {
    for (std::size_t begin = 0; begin <= path.size();) {
      const std::size_t end = std::min(path.find(':', begin), path.size());
      if (end > begin)
        result.program_paths.push_back(path.substr(begin, end - begin) + "/" + setup.command[0]);
      begin = end + 1;
    }
  }
  result.directory = setup.working_directory.empty() ? "/" : setup.working_directory;
  return result;
}

[[noreturn]] void give_up(int report, step where, int index = 0) {
  const failure what{where, errno, index};
  [[maybe_unused]] const ssize_t written = ::write(report, &what, sizeof what);
  ::_exit(127);
}

// In the child, between fork and exec: system calls only.
[[noreturn]] void become(const prepared& ready, const std::vector<bind_mount>& binds, int go, int report) {
  char begin = 0;
  ssize_t got = 0;
  do got = ::read(go, &begin, 1);
  while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(126);  // the daemon died, or could not write the record: nothing was started

  ::setsid();
  if (!binds.empty()) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
      give_up(report, step::unshare);
    }
    int index = 0;
    for (const bind_mount& bind : binds) {
      if (::mount(bind.source.c_str(), bind.target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
        give_up(report, step::bind, index);
      }
      ++index;
    }
  }
  if (ready.change_user && (::setgroups(ready.groups.size(), ready.groups.data()) != 0 ||
                            ::setresgid(ready.gid, ready.gid, ready.gid) != 0 ||
                            ::setresuid(ready.uid, ready.uid, ready.uid) != 0)) {
    give_up(report, step::user);
  }
  if (::chdir(ready.directory.c_str()) != 0) give_up(report, step::directory);

  ::dup2(ready.null, 0);
  ::dup2(ready.output >= 0 ? ready.output : ready.null, 1);
  ::dup2(ready.output >= 0 ? ready.output : ready.null, 2);
  ::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::umask(022);

  int error = ENOENT;
  for (const std::string& program : ready.program_paths) {
    ::execve(program.c_str(), ready.arguments.data(), ready.environment.data());
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
  }
  errno = error;
  give_up(report, step::execute);
}

absl::Status status_of(const failure& what, const process_setup& setup) {
  switch (what.where) {
    case step::unshare:
      return errno_status(what.error, "make private mounts for", setup.command[0]);
    case step::bind: {
      const bind_mount& bind = setup.binds[static_cast<std::size_t>(what.index)];
      return errno_status(what.error, "bind", fmt::format("{} to {}", bind.source, bind.target));
    }
    case step::directory:
      return errno_status(what.error, "enter", setup.working_directory);
    case step::user:
      return errno_status(what.error, "become user", setup.user);
    case step::execute:
      break;
  }
  return errno_status(what.error, "execute", setup.command[0]);
}

absl::Status make_bind_targets(const std::vector<bind_mount>& binds) {
  for (const bind_mount& bind : binds) {
    if (bind.target.empty() || bind.target.front() != '/' || bind.target == "/") {
      return absl::InvalidArgumentError(fmt::format("cannot bind to \"{}\"", bind.target));
    }
    for (std::size_t end = 1; end != std::string::npos;) {
      end = bind.target.find('/', end + 1);
      const std::string part = bind.target.substr(0, end);
      if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return errno_status(errno, "create", part);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<child_process> start_process(const process_setup& setup,
                                            const std::function<absl::Status(pid_t)>& before_start) {
  UNDERSTUDY_ASSIGN_OR_RETURN(prepared ready, prepare(setup));
  UNDERSTUDY_RETURN_IF_ERROR(make_bind_targets(setup.binds));
  const os::unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ready.null = null.value();
  ready.output = setup.output;
  std::array<int, 2> go_pair{};
  std::array<int, 2> report_pipe{};
  if (!null || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go_pair.data()) != 0)
    return errno_status(errno, "make a pipe for", setup.command[0]);
  os::unique_fd go_read(go_pair[0]);
  os::unique_fd go_write(go_pair[1]);
  if (::pipe2(report_pipe.data(), O_CLOEXEC) != 0)
    return errno_status(errno, "make a pipe for", setup.command[0]);
  const os::unique_fd report_read(report_pipe[0]);
  os::unique_fd report_write(report_pipe[1]);

  const pid_t pid =
      ::_Fork();  // without the at-fork handlers of libraries: the child only makes system calls
  if (pid < 0) return errno_status(errno, "fork for", setup.command[0]);
  if (pid == 0) {
    ::close(go_write.release());
    become(ready, setup.binds, go_read.value(), report_write.value());
  }
  go_read.reset();
  report_write.reset();
  child_process child{pid, os::unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)))};
  absl::Status status = child.descriptor ? before_start(pid) : errno_status(errno, "watch", setup.command[0]);
  if (status.ok()) {
    // A socket, not a pipe, for a write to a child that was killed meanwhile must not raise SIGPIPE here.
    if (::send(go_write.value(), "g", 1, MSG_NOSIGNAL) != 1)
      status = errno_status(errno, "start", setup.command[0]);
    go_write.reset();
    failure what;
    ssize_t got = 0;
    do got = ::read(report_read.value(), &what, sizeof what);
    while (got < 0 && errno == EINTR);
    if (got == sizeof what) status = status_of(what, setup);
  } else {
    go_write.reset();
  }
  if (!status.ok()) {
    ::waitpid(pid, nullptr, 0);
    return status;
  }
  return child;
}

}  // namespace understudy::application
