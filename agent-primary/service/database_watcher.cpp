#include "agent-primary/service/database_watcher.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "common/log/log.hpp"

namespace understudy::service {
namespace {

constexpr std::chrono::seconds look_interval{
    1};  // a change is for people; the streams learn it by themselves

}  // namespace

database_watcher_actor::behavior_type database_watcher(
    database_watcher_actor::stateful_pointer<database_watcher_state> self, std::string catalog,
    std::shared_ptr<channel::database_source> source) {
  self->send(self, atom::look_v);
  return {[self, catalog = std::move(catalog), source = std::move(source)](atom::look_atom) {
    self->delayed_send(self, look_interval, atom::look_v);
    database_watcher_state& known = self->state;
    const channel::source_state now = source->state();
    if (known.said && known.phase == now.now && known.reason == now.reason) return;
    using phase = channel::source_state::phase;
    if (now.now == phase::absent && now.reason.empty()) return;  // it was not looked at yet
    known = {now.now, now.reason, true};
    switch (now.now) {
      case phase::absent:
        log::warning(catalog, "there is no such database yet: {}", now.reason);
        break;
      case phase::scanning:
        log::info(catalog, "reading the database, {} MB", now.total_bytes >> 20);
        break;
      case phase::ready:
        log::info(catalog, "captured: {} pages of {} bytes", now.database_pages, now.page_size);
        break;
      case phase::refused:
        log::error(catalog, "cannot be captured: {}", now.reason);
        break;
    }
  }};
}

}  // namespace understudy::service
