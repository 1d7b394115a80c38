#pragma once

#include <string>

namespace CLI {
class App;
}

namespace understudy::ctl {

// A completion script for "bash", "zsh" or "fish", made from the tree of verbs: subcommands, options, the
// values of options that have a fixed set, and server names, asked of the failover host, where a verb takes
// NAME.
std::string completion_script(const CLI::App& root, const std::string& shell);

}  // namespace understudy::ctl
