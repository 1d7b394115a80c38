#include "common/channel/database_progress.hpp"

namespace understudy::channel {

const char* to_string(database_progress::phase phase) {
  switch (phase) {
    case database_progress::phase::waiting:
      return "waiting";
    case database_progress::phase::comparing:
      return "comparing";
    case database_progress::phase::healing:
      return "healing";
    case database_progress::phase::streaming:
      return "streaming";
    case database_progress::phase::drained:
      return "drained";
  }
  return "unknown";
}

}  // namespace understudy::channel
