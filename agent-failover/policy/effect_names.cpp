#include <array>

#include "agent-failover/policy/effects.hpp"

namespace understudy::policy {
namespace {
// In the order of the enumerators.
constexpr std::array names = {
    "count_miss",
    "claim_if_due",
    "heard",
    "reset_count",
    "rebooted",
    "note_blind",
    "note_sight",
    "withdraw",
    "mark_claim",
    "take_right",
    "give_right",
    "note_epoch",
    "ask_slot",
    "got_slot",
    "queue",
    "free_slot",
    "why_automatic",
    "why_operator",
    "why_forced",
    "why_done",
    "note_reason",
    "clear_reason",
    "note_failure",
    "name_obstacle",
    "block_busy",
    "unblock",
    "note_pause",
    "clear_pause",
    "stop_files",
    "start_files",
    "stop_all",
    "start_all",
    "start_databases",
    "freeze",
    "begin_copy",
    "note_copying",
    "note_copied",
    "note_copy_failed",
    "note_replication",
    "lose_copy",
    "may_have_run",
    "served",
    "arrived",
    "came_home",
    "choose",
    "choose_stored",
    "serving",
    "not_serving",
    "want_resume",
    "no_resume",
    "settle",
    "back_off",
    "settle_again",
    "settle_over",
    "begin_again",
    "cancel_running",
    "retry_later",
    "note_versions",
    "note_settings",
    "tell_warning",
    "tell_failure",
    "tell_denied",
    "tell_undone",
    "tell_impaired",
    "tell_reset",
    "tell_conflict",
    "tell_stood_down",
    "tell_failback_failed",
    "tell_versions",
    "tell_blind",
    "tell_state",
};
static_assert(names.size() == static_cast<std::size_t>(effect::tell_state) + 1);
}  // namespace

const char* to_string(effect value) {
  return names[static_cast<std::size_t>(value)];
}

}  // namespace understudy::policy
