#pragma once

// Processes of an application that left its process group: a server may put helpers into sessions of their
// own (fossil's backoffice does), and they keep the database open after the server has ended. They are known
// by an environment variable that every process of the application inherits.

#include <chrono>
#include <string>

namespace understudy::application {

// Kills every process whose initial environment holds `variable` ("NAME=VALUE"), and waits for their ends, at
// most for `patience`. How many there were. What this process may not look at (another user's, without
// CAP_SYS_PTRACE) is left alone.
int kill_stray_processes(const std::string& variable, std::chrono::milliseconds patience);

}  // namespace understudy::application
