#pragma once

// Everything the failover host has to know about one primary in order to decide: a value, kept in state.db,
// changed only by step() (table.hpp). No clock, no I/O; times are the actor's, as Unix milliseconds.

#include <cstdint>
#include <string>

namespace understudy::policy {

// Where a primary stands. The status an operator sees follows from it (status.hpp).
enum class phase : std::uint8_t {
  monitoring,   // pings are answered, or have not failed yet
  suspect,      // 1 or more consecutive pings missed, fewer than the warning count
  warned,       // the warning count was reached and mailed
  blind,        // this host's own network or clock is in doubt: misses are not counted
  suspended,    // by an operator: no monitoring, file sync stopped, database sync continues
  stopped,      // by an operator: no monitoring, both syncs stopped
  claiming,     // declared failed, or asked for: the place and the right to run are being obtained; revocable
  blocked,      // declared failed, and not taken over for the reason in `blocked`; the primary has the right
  taking_over,  // this host has the right and works through the takeover's steps
  standing_in,  // the stand-in serves
  conflict,     // the stand-in serves and the primary was found serving, or using its address, as well
  standing_down,  // an operator stopped the stand-in, or it failed: its steps are being undone
  stood_down,     // no stand-in runs; the copy is the newest data and the primary's application is held down
  failing_back,   // data and the right go back to the primary
};
inline constexpr int phase_count = 14;

// What is being done in claiming, taking_over, conflict, standing_down and failing_back. Every step is
// idempotent: it is persisted before it is begun and begun again after a restart.
enum class step_id : std::uint8_t {
  none,  // nothing; in claiming: waiting for the place

  // claiming
  claim_right,  // record the claim where the mode wants it (witness) and wait until no lease can be alive.
                // compat: nothing to wait for. Planned: record only, for stop_primary stops the holder

  // taking_over, planned only
  stop_primary,   // the agent stops the primary's applications and keeps them down
  drain_primary,  // all that the primary committed is durable in the copy
  // taking_over
  freeze_apply,       // nothing from the primary is applied to the copy any more
  verify_copy,        // the copy is whole: hash registers compared
  pre_hook,           // the operator's hook; it may veto
  fence,              // tell the agent that it lost the right; done also when it cannot be reached
  address_probe,      // nobody else uses the addresses (RFC 5227); an address held already passes
  add_address,        // adopt them
  start_application,  // start the stand-in application
  application_check,  // it serves
  announce,           // gratuitous ARP, unsolicited neighbour advertisements
  post_hook,          // the operator's hook
  // taking_over, being undone before a stand-in ran
  return_address,  // release what add_address adopted
  return_right,    // give the right back: host's record, claim at the witness, agent

  // conflict
  fence_again,  // as fence

  // standing_down
  stop_application,  // stop the stand-in
  fold_copy,         // fold its write-ahead log, prove that nobody has the copy open
  give_up_address,   // release the addresses

  // failing_back
  reverse_heal,     // bring an image beside the primary's data equal to the copy, the stand-in still serving
  stop_stand_in,    // stop the stand-in
  drain,            // send what it committed meanwhile
  set_aside,        // keep the loser's data aside, then put the image in its place
  verify_equal,     // both sides state the same hashes
  hand_over,        // record the right as the primary's: from here on there is no way back to the stand-in
  release_address,  // release the addresses
  start_primary,    // shown as start_application: grant, and have the agent start what is stopped
};
inline constexpr int step_count = 28;

// Why a declared failure is not taken over.
enum class block : std::uint8_t {
  none,                // not blocked
  no_copy,             // there is no verified copy
  slot_busy,           // this host stands in for another primary; queued
  copy_stale,          // the copy did not verify
  address_in_use,      // somebody answers on the address to adopt
  versions_differ,     // the application's version is another one here, and that was not allowed
  flapping,            // handed back by itself a short while ago
  automation_off,      // the server is taken over by hand only
  hook_veto,           // the pre-hook said no
  right_not_secured,   // the witness could not record the claim, or the lease may be alive
  application_failed,  // the stand-in application could not be started
  step_failed,         // another step failed, see the reason
};
inline constexpr int block_count = 12;

// Who may run the application.
enum class right_owner : std::uint8_t {
  primary,        // the primary
  failover_host,  // this host
};

// What prevents two from running at once.
enum class protection : std::uint8_t {
  compat,   // ping alone decides
  guarded,  // a lease, renewable by the host or the primary's witness
  strict,   // a lease, renewable by the host alone
};

// Whose data wins where both sides were written. The loser is always set aside.
enum class diverged_choice : std::uint8_t {
  none,             // not chosen: a failback that finds such data stops
  discard_primary,  // the copy wins
  keep_primary,     // the primary wins
};

// Why the present takeover or failback is under way.
enum class cause : std::uint8_t {
  none,       // none is
  automatic,  // missed pings; or, failing back, auto_stop
  planned,    // an operator's switchover: the primary is stopped first, nothing is lost
  forced,     // an operator's takeover that does not ask the primary; failing back: an operator's command
};

// How far the copy is. Beside the phase, so that a primary that dies during its daily copy is still taken
// over.
enum class copy_phase : std::uint8_t {
  unprotected,  // no verified copy
  copying,      // a bulk copy runs
  streaming,    // in step
  behind,       // connected, not in step
  cut,          // not connected to the agent
  stopped,      // stopped by an operator, or because a stand-in uses the copy
};

struct replication_state {
  copy_phase at = copy_phase::unprotected;
  bool has_copy = false;  // a verified generation exists; a bulk copy in progress does not take it away
  friend bool operator==(const replication_state&, const replication_state&) = default;
};

// What the operator configured, as far as decisions depend on it.
struct options {
  std::uint32_t warning_count = 5;
  std::uint32_t claim_count = 4;  // leased modes: the claim is recorded and renewal stops
  std::uint32_t failover_count = 15;
  std::uint32_t failover_count_after_reboot = 30;
  protection mode = protection::compat;
  bool assume_ip = false;
  bool auto_stop = false;
  bool manual_only = false;
  bool allow_version_difference = false;
  diverged_choice auto_stop_choice = diverged_choice::none;
  friend bool operator==(const options&, const options&) = default;
};

struct primary_state {
  phase at = phase::monitoring;
  step_id doing = step_id::none;
  replication_state replication;
  options configured;

  // detection
  std::uint32_t missed = 0;      // consecutive
  bool after_reboot = false;     // this host rebooted and had no reply since: the higher count applies
  bool host_blind = false;       // as last reported, in every phase
  bool claimed = false;          // leased modes: a revocable claim is recorded, the lease is not renewed
  bool versions_differ = false;  // the application's, as last compared
  bool flapping = false;         // handed back by itself, or tried to: the settle period has not passed

  // the right to run
  std::uint64_t epoch = 1;
  right_owner owner = right_owner::primary;

  // takeover and failback
  cause why_acting = cause::none;
  block blocked = block::none;       // in blocked; while undoing: what blocked will say
  bool slot_held = false;            // this primary has the one place
  bool resume_asked = false;         // in stood_down: waiting for the place to stand in again
  std::uint32_t queue_position = 0;  // 0: not queued
  bool copy_newest = false;          // a stand-in ran since the primary last had the right
  bool told = false;                 // this takeover was told to people
  bool serving = false;              // the failback under way began with the stand-in serving
  bool start_owed = false;           // the primary's application was stopped by us: to be started again
  diverged_choice choice = diverged_choice::none;  // of the failback under way

  // in words
  std::string reason;         // why it is as it is, when an event said so
  std::int64_t until_ms = 0;  // end of a suspension or stop, Unix ms; 0: none
  std::string by;             // who suspended or stopped
  std::string why;            // and why

  friend bool operator==(const primary_state&, const primary_state&) = default;
};

// Consecutive misses at which a failure is declared now.
std::uint32_t takeover_threshold(const primary_state& state);

// What keeps a declared failure of this state from being taken over automatically.
block obstacle(const primary_state& state);

// May the agent be granted the right (lease renewal, boot gate) now? The answer to AskToRun.
bool may_grant(const primary_state& state);

// Must `after` be durable before its actions are carried out? Only miss counting is not worth a sync.
bool must_persist(const primary_state& before, const primary_state& after);

// "TakingOver(start_application)", "Suspect(3)", "Blocked(slot busy)", "Monitoring".
std::string name_of(const primary_state& state);

const char* to_string(phase value);            // "Monitoring"
const char* to_string(step_id value);          // "freeze_apply"
const char* to_string(block value);            // "slot busy"
const char* to_string(copy_phase value);       // "Streaming"
const char* to_string(right_owner value);      // "primary"
const char* to_string(protection value);       // "compat"
const char* to_string(diverged_choice value);  // "discard-primary"
const char* to_string(cause value);            // "planned"

}  // namespace understudy::policy
