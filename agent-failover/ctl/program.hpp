#pragma once

namespace understudy::ctl {

// The whole program: reads the command line, runs the verb, reports. Returns the exit code.
int run(int argc, char** argv);

}  // namespace understudy::ctl
