#include "agent-primary/service/files_restore.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace understudy::service {

files::tree_sink_options restore_options(const files::selection& what, std::uint32_t index) {
  files::tree_sink_options options;
  options.tree = what.base;
  options.beside = what.base.substr(0, std::max<std::size_t>(1, what.base.rfind('/')));
  options.name = fmt::format("files-{}", index);
  options.what = what;
  return options;
}

}  // namespace understudy::service
