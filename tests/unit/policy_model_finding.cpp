#include "tests/unit/policy_model.hpp"

namespace understudy::policy::model {

const char* to_string(finding value) {
  switch (value) {
    case finding::two_running:
      return "two applications run at once";
    case finding::orphan_stand_in:
      return "a stand-in runs in a state that does not know of it";
    case finding::data_destroyed:
      return "commits were overwritten that had not been set aside";
    case finding::epoch_broken:
      return "the epoch did not grow by one with the owner or follow an agent that is ahead, and only then";
    case finding::slot_shared:
      return "a stand-in runs, or a takeover goes on, without the one place";
    case finding::copy_newest_wrong:
      return "the copy is called newest and is not, or is and is not called so";
    case finding::taken_over_without_copy:
      return "a takeover without a verified copy";
    case finding::automatic_when_forbidden:
      return "an automatic takeover that something forbids";
    case finding::count_wrong:
      return "the state does not agree with the count of missed pings";
    case finding::blocked_without_reason:
      return "Blocked without a reason";
    case finding::blind_without_cause:
      return "Blind although this host sees";
    case finding::switchover_lost_data:
      return "a switchover left commits behind";
    case finding::asked_dead_primary:
      return "a takeover that is no switchover depends on the primary";
    case finding::operator_overruled:
      return "a ping withdrew, or a setting changed, what an operator asked for";
    case finding::started_without_debt:
      return "the primary's application was started without being owed";
    case finding::returned_unasked:
      return "handed back by itself without being allowed to";
    case finding::resumed_unasked:
      return "the stand-in was resumed without being asked for";
    case finding::standing_in_without_stand_in:
      return "StandingIn without a stand-in";
    case finding::told_twice:
      return "the same difference was mailed twice";
    case finding::resumed_on_old_copy:
      return "an automatic takeover went on after the daemon was away, before any stand-in ran";
    case finding::service_given_up:
      return "the stand-in with the newest data was stopped for a failure that may pass";
  }
  return "?";
}

}  // namespace understudy::policy::model
