#include "common/files/files_progress.hpp"

namespace understudy::files {

const char* to_string(files_progress::phase phase) {
  switch (phase) {
    case files_progress::phase::comparing:
      return "comparing";
    case files_progress::phase::streaming:
      return "streaming";
    case files_progress::phase::held:
      return "held";
    case files_progress::phase::unavailable:
      return "unavailable";
    case files_progress::phase::drained:
      return "drained";
  }
  return "?";
}

}  // namespace understudy::files
