#include <array>

#include "agent-failover/policy/table.hpp"

namespace understudy::policy {
namespace {
struct guard_text {
  const char* name;
  const char* meaning;
};
// In the order of the enumerators.
constexpr std::array<guard_text, guard_count> texts = {{
    {"none", "always"},
    {"takeover_due", "this miss reaches the takeover count that applies"},
    {"warning_due", "this miss reaches the warning count"},
    {"host_blind", "self health says that this host sees nothing"},
    {"has_copy", "a verified copy exists"},
    {"automation_on", "the server is not by-hand only"},
    {"versions_agree", "the application's versions agree, or a difference is allowed"},
    {"settled", "no handing back by itself, done or failed, a short while ago"},
    {"obstacle_noted", "the takeover was undone for a reason that still stands"},
    {"automatic", "the takeover is automatic: nobody asked for it"},
    {"planned", "the takeover is a switchover"},
    {"force_asked", "the operator said --force"},
    {"start_owed", "we stopped the primary's application and owe it a start"},
    {"copy_newest", "a stand-in ran since the primary last had the right"},
    {"address_taken", "the step failed because somebody else answers on the address"},
    {"stand_in_ran", "the failed start may have executed the application"},
    {"queued", "this primary waits in the queue for the place"},
    {"resume_asked", "an operator wants the stand-in back"},
    {"was_serving", "the failback began while the stand-in served"},
    {"keep_primary", "the primary's data wins"},
    {"auto_stop_on", "auto_stop is set"},
    {"no_assumed_ip", "assume_ip is not set"},
    {"choice_stored", "what auto_stop does with diverged data was chosen beforehand"},
    {"first_difference", "the versions were not known to differ"},
    {"was_warned", "the frozen count had reached the warning count"},
    {"missed_some", "the frozen count is not zero"},
}};
}  // namespace

const char* to_string(guard value) {
  return texts[static_cast<std::size_t>(value)].name;
}
const char* describe(guard value) {
  return texts[static_cast<std::size_t>(value)].meaning;
}

}  // namespace understudy::policy
