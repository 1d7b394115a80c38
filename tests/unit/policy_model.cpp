#include "tests/unit/policy_model.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "tests/unit/policy_model_world.hpp"

namespace understudy::policy::model {

namespace {

class explorer {
 public:
  explorer(const settings& with, guard disabled, bool stop_at_first)
      : with_(with), disabled_(disabled), stop_at_first_(stop_at_first) {}

  report run() {
    world first = unpack(0, with_.configured);
    first.host.replication.has_copy = !with_.no_copy;
    first.host_witness = first.primary_witness = true;
    first.power = first.primary_runs = first.link = first.leased = first.agent_owns = true;
    add(first, "begin", event_kind::probe_ok);
    for (current_ = 0; current_ < keys_.size() && !stopped_; ++current_) {
      const world w = unpack(keys_[current_], with_.configured);
      check_state(w);
      surroundings(w);
      if (w.process == daemon::up) {
        detection(w);
        steps(w);
        operators(w);
      }
    }
    report_.states = keys_.size();
    if (!stopped_) find_stuck();
    return std::move(report_);
  }

 private:
  struct origin {
    std::uint32_t from;
    const char* label;
    event_kind kind;
  };

  // --- the graph
  void add(const world& w, const char* label, event_kind kind = event_kind::settings_changed) {
    ++report_.edges;
    const std::uint64_t key = pack(w);
    const auto [it, is_new] = index_.try_emplace(key, static_cast<std::uint32_t>(keys_.size()));
    if (is_new) {
      keys_.push_back(key);
      origins_.push_back({static_cast<std::uint32_t>(current_), label, kind});
    }
    if (!stop_at_first_) links_.push_back({static_cast<std::uint32_t>(current_), it->second});
  }

  std::vector<std::string> trace_to(std::size_t node) const {
    std::vector<std::string> trace;
    while (node != 0) {
      const origin& o = origins_[node];
      const world w = unpack(keys_[node], with_.configured);
      trace.push_back(
          fmt::format("{} -> {}", o.label == nullptr ? policy::to_string(o.kind) : o.label, name_of(w.host)));
      node = o.from;
    }
    std::reverse(trace.begin(), trace.end());
    return trace;
  }

  void note(finding what) {
    if (report_.found.contains(what)) return;
    report_.found[what] = trace_to(current_);
    if (stop_at_first_ && what != finding::two_running) stopped_ = true;
  }

  void find_stuck() {
    std::vector<std::uint32_t> begins(keys_.size() + 1, 0), sources(links_.size());
    for (const auto& [from, to] : links_) ++begins[to + 1];
    for (std::size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
    std::vector<std::uint32_t> fill(begins.begin(), begins.end() - 1);
    for (const auto& [from, to] : links_) sources[fill[to]++] = from;
    std::vector<bool> good(keys_.size());
    std::vector<std::uint32_t> todo;
    for (std::uint32_t i = 0; i < keys_.size(); ++i) {
      const world w = unpack(keys_[i], with_.configured);
      good[i] = w.host.at == phase::monitoring && w.primary_runs && !w.stand_in_runs && w.link &&
                w.process == daemon::up && w.host.replication.has_copy && !w.host.start_owed;
      if (good[i]) todo.push_back(i);
    }
    while (!todo.empty()) {
      const std::uint32_t node = todo.back();
      todo.pop_back();
      for (std::uint32_t i = begins[node]; i < begins[node + 1]; ++i) {
        if (good[sources[i]]) continue;
        good[sources[i]] = true;
        todo.push_back(sources[i]);
      }
    }
    const auto bad = std::find(good.begin(), good.end(), false);
    if (bad != good.end()) report_.stuck = trace_to(static_cast<std::size_t>(bad - good.begin()));
  }

  // --- invariants
  void check_state(const world& w) {
    const primary_state& h = w.host;
    if (w.primary_runs && w.stand_in_runs) note(finding::two_running);
    if (w.stand_in_runs && !in_service_here(w)) note(finding::orphan_stand_in);
    if (copies_from_primary(h) && w.copy_ahead) note(finding::data_destroyed);
    if (w.stand_in_runs && w.place != place_of::ours) note(finding::slot_shared);
    if (h.slot_held && w.place != place_of::ours) note(finding::slot_shared);
    const bool unrecorded = h.at == phase::taking_over && h.doing == step_id::start_application;
    if (h.copy_newest != w.ran && !unrecorded) note(finding::copy_newest_wrong);
    if (h.at == phase::stood_down && !h.copy_newest) note(finding::copy_newest_wrong);
    if (h.at == phase::monitoring && h.missed != 0) note(finding::count_wrong);
    if (h.at == phase::suspect && (h.missed == 0 || h.missed >= h.configured.warning_count)) {
      note(finding::count_wrong);
    }
    if (h.at == phase::warned && h.missed < h.configured.warning_count) note(finding::count_wrong);
    if (h.at == phase::blocked && h.blocked == block::none) note(finding::blocked_without_reason);
    if (h.at == phase::standing_in && w.process == daemon::up && !w.stand_in_runs) {
      note(finding::standing_in_without_stand_in);
    }
  }

  // Never back, never the right, and afterwards the agent accepts: a fence at once where this host has the
  // right, a fence or grant after the next change of hands otherwise.
  void check_epoch(const primary_state& before, const event& what, const primary_state& after) {
    primary_state raised = before;
    raised.epoch = after.epoch;
    const bool must_fence = after.owner == right_owner::failover_host && what.owner == right_owner::primary;
    if (after.epoch < before.epoch || after.epoch < what.epoch + (must_fence ? 1 : 0) || !(raised == after) ||
        must_persist(before, after) != (after.epoch != before.epoch)) {
      note(finding::epoch_broken);
    }
  }

  void check_edge(const primary_state& before, const event& what, const result& made) {
    const primary_state& after = made.state;
    const bool changed_hands = before.owner != after.owner;
    if (what.kind == event_kind::agent_epoch) {
      check_epoch(before, what, after);
    } else if (after.epoch != before.epoch + (changed_hands ? 1 : 0)) {
      note(finding::epoch_broken);
    }
    const bool claims = after.at == phase::claiming && before.at != phase::claiming;
    if (claims && !after.replication.has_copy) note(finding::taken_over_without_copy);
    if (claims && after.why_acting == cause::automatic) {
      if (obstacle(before) != block::none || before.host_blind) note(finding::automatic_when_forbidden);
      if (what.kind == event_kind::probe_failed && after.missed < takeover_threshold(before)) {
        note(finding::count_wrong);
      }
    }
    if (after.at == phase::blocked && before.at != phase::blocked && what.kind == event_kind::probe_failed &&
        after.missed < takeover_threshold(before)) {
      note(finding::count_wrong);
    }
    if (after.at == phase::blind && !after.host_blind) note(finding::blind_without_cause);
    if (after.doing == step_id::stop_primary && after.why_acting != cause::planned) {
      note(finding::asked_dead_primary);
    }
    const bool asked_for = before.why_acting == cause::planned || before.why_acting == cause::forced;
    if (what.kind == event_kind::probe_ok && asked_for && before.at != phase::blocked &&
        (before.at != after.at || before.doing != after.doing)) {
      note(finding::operator_overruled);
    }
    if (what.kind == event_kind::operator_failover && made.by != nullptr && after.at == phase::claiming &&
        after.why_acting != (what.force ? cause::forced : cause::planned)) {
      note(finding::operator_overruled);
    }
    const bool paused = before.at == phase::suspended || before.at == phase::stopped;
    if (claims && what.kind == event_kind::operator_failover && !what.force &&
        (paused || before.at == phase::failing_back)) {
      note(finding::operator_overruled);
    }
    if (what.kind == event_kind::probe_ok && before.at != phase::failing_back &&
        after.at == phase::failing_back && !before.start_owed) {
      note(finding::started_without_debt);
    }
    if (what.kind == event_kind::primary_back && after.at == phase::failing_back) {
      const options& o = before.configured;
      if (!o.auto_stop || o.assume_ip || o.auto_stop_choice == diverged_choice::none || before.flapping)
        note(finding::returned_unasked);
    }
    if (before.at == phase::stood_down && after.at == phase::taking_over && !before.resume_asked) {
      note(finding::resumed_unasked);
    }
    if (after.at == phase::taking_over && !after.slot_held) note(finding::slot_shared);
    // A switchover that is undone goes back to the primary at once; Blocked is for a primary that failed.
    if (before.doing == step_id::return_right && after.at == phase::blocked &&
        before.why_acting == cause::planned) {
      note(finding::operator_overruled);
    }
    const bool gave_up = before.at == phase::failing_back && before.serving &&
                         (after.at == phase::standing_in || after.at == phase::taking_over);
    const bool ended = what.kind == event_kind::step_failed || what.kind == event_kind::operator_cancel;
    if (gave_up && ended && before.configured.auto_stop && !after.flapping) note(finding::returned_unasked);
    const bool came_back = what.kind == event_kind::restarted || what.kind == event_kind::host_rebooted;
    if (came_back && before.at == phase::taking_over && before.doing < step_id::start_application &&
        before.why_acting == cause::automatic && !before.copy_newest &&
        after.doing != step_id::return_address) {
      note(finding::resumed_on_old_copy);
    }
    const bool on_the_way = before.doing == step_id::fence || before.doing == step_id::address_probe ||
                            before.doing == step_id::add_address;
    if (what.kind == event_kind::step_failed && on_the_way && before.copy_newest &&
        what.failed_as != failure::address_in_use && after.at != phase::taking_over) {
      note(finding::service_given_up);
    }
    for (const action& each : made.actions) {
      if (each.kind != action_kind::raise) continue;
      if (each.what == notice::versions_differ && (before.versions_differ || !what.differ))
        note(finding::told_twice);
    }
  }

  // --- one event
  void deliver(world w, const event& what, const char* label = nullptr) {
    const result made = step(w.host, what, disabled_);
    check_edge(w.host, what, made);
    if (what.kind == event_kind::step_done || what.kind == event_kind::step_failed) w.step_running = false;
    w.host = made.state;
    carry_out(w, made.actions);
    normalise(w);
    add(w, label, what.kind);
  }

  static void carry_out(world& w, const std::vector<action>& actions) {
    for (const action& each : actions) {
      switch (each.kind) {
        case action_kind::start_step:
          w.step_running = true;
          break;
        case action_kind::cancel_step:
          w.step_running = false;
          break;
        case action_kind::request_slot:
          w.asked = request::asked;
          w.grant_under_way = false;  // a supervisor drops answers to earlier requests
          break;
        case action_kind::release_slot:
          w.asked = request::none;
          if (w.place == place_of::ours) w.place = place_of::free;
          break;
        case action_kind::schedule_retry:
          w.retry_due = true;
          break;
        case action_kind::start_settle_timer:
          w.settle_due = true;
          break;
        default:
          break;
      }
    }
  }

  void normalise(world& w) const {
    primary_state& h = w.host;
    h.epoch = base_epoch;
    h.missed = std::min<std::uint32_t>(h.missed, 3);
    h.queue_position = std::min<std::uint32_t>(h.queue_position, 1);
    h.told = false;
    h.reason.clear();
    h.replication.at = copy_phase::streaming;
    if (h.owner == right_owner::primary) w.ran = false;
    if (h.at != phase::blocked && !w.step_running && h.doing == step_id::none) w.retry_due = false;
    if (w.step_running) w.retry_due = false;
    if (h.at != phase::failing_back) w.image_whole = false;
    if (with_.configured.mode == protection::compat) w.leased = w.claim_recorded = false;
  }

  bool compat() const { return with_.configured.mode == protection::compat; }

  static bool contact(const world& w) { return w.link && w.power && w.process == daemon::up; }

  // --- network, power, crashes, agent, witness, clients, arbiter
  void surroundings(const world& w) {
    const auto become = [&](const char* label, auto change) {
      world next = w;
      change(next);
      normalise(next);
      add(next, label);
    };
    if (with_.cuts) {
      if (w.link) become("link cut", [](world& n) { n.link = false; });
      if (!w.link) become("link mended", [](world& n) { n.link = true; });
    }
    if (with_.cuts && !compat()) {
      become("host and witness: cut or mended", [](world& n) { n.host_witness = !n.host_witness; });
      become("primary and witness: cut or mended", [](world& n) { n.primary_witness = !n.primary_witness; });
    }
    if (w.power) {
      become("primary loses power", [](world& n) { n.power = n.primary_runs = n.leased = false; });
    } else {
      become("primary has power", [](world& n) { n.power = true; });
    }
    if (with_.crashes) crashes(w, become);

    // The agent.
    if (w.power && contact(w) && w.host.owner == right_owner::failover_host &&
        (w.agent_owns || w.primary_runs)) {
      become("agent told that it lost the right",
             [](world& n) { n.agent_owns = n.primary_runs = n.leased = false; });
    }
    if (contact(w) && may_grant(w.host) && !w.host.start_owed && (!w.primary_runs || !w.agent_owns)) {
      become("gate: granted by the host", [](world& n) { n.agent_owns = n.primary_runs = n.leased = true; });
    }
    if (contact(w) && may_grant(w.host) && w.primary_runs && !w.leased && !compat()) {
      become("lease renewed", [](world& n) { n.leased = true; });
    }
    const bool silence = !w.link || w.process == daemon::off;
    if (w.power && !w.primary_runs && compat() && silence) {
      become("gate: silence, starts by itself", [](world& n) { n.primary_runs = true; });
    }
    if (!compat()) leases(w, become);

    // Clients and replication.
    if (w.primary_runs && !w.primary_ahead)
      become("write on primary", [](world& n) { n.primary_ahead = true; });
    if (w.stand_in_runs && (!w.copy_ahead || w.image_whole)) {
      become("write on stand-in", [](world& n) {
        n.copy_ahead = true;
        n.image_whole = false;
      });
    }
    if (contact(w) && copies_from_primary(w.host) && w.primary_ahead) {
      become("replicated", [](world& n) { n.primary_ahead = false; });
    }

    // The arbiter and the other primary.
    if (with_.slots) {
      if (w.place == place_of::free)
        become("another takes the place", [](world& n) { n.place = place_of::other; });
      if (w.place == place_of::other)
        become("another leaves the place", [](world& n) { n.place = place_of::free; });
    }
    if (w.asked != request::none && w.place != place_of::other) {
      become("place given", [](world& n) {
        n.place = place_of::ours;
        n.asked = request::none;
        n.grant_under_way = true;
      });
    }
  }

  template <class Become>
  void crashes(const world& w, const Become& become) {
    const auto forget = [](world& n) {
      // Whether it ran is not recorded: it counts as if it had.
      if (n.host.at == phase::taking_over && n.host.doing == step_id::start_application) n.ran = true;
      n.asked = request::none;
      n.grant_under_way = n.step_running = n.retry_due = n.settle_due = false;
      if (n.host.slot_held) n.place = place_of::ours;
      if (!n.host.slot_held && n.place == place_of::ours) n.place = place_of::free;
    };
    if (w.process == daemon::up) {
      become("daemon crashes", [&](world& n) {
        n.process = daemon::crashed;
        forget(n);
      });
      if (w.step_running) {
        become("step done, daemon crashes before it is recorded", [&](world& n) {
          if (can_be_done(n)) perform(n);
          n.process = daemon::crashed;
          forget(n);
        });
      }
    }
    if (w.process != daemon::off) {
      become("host loses power", [&](world& n) {
        n.process = daemon::off;
        n.stand_in_runs = false;
        forget(n);
      });
    }
    if (w.process != daemon::up) {
      world next = w;
      next.process = daemon::up;
      if (with_.state_not_persisted) {
        const replication_state kept = w.host.replication;
        next.host = unpack(0, with_.configured).host;
        next.host.replication = kept;
      }
      deliver(next, happened(w.process == daemon::off ? event_kind::host_rebooted : event_kind::restarted));
    }
  }

  template <class Become>
  void leases(const world& w, const Become& become) {
    const bool wanted =
        !may_grant(w.host) && w.host.owner == right_owner::primary
            ? w.host.claimed || w.host.at == phase::taking_over || w.host.at == phase::failing_back
            : w.host.owner == right_owner::failover_host;
    if (w.process == daemon::up && w.host_witness && w.claim_recorded != wanted) {
      become(wanted ? "claim recorded at the witness" : "claim withdrawn at the witness",
             [&](world& n) { n.claim_recorded = wanted; });
    }
    const bool host_renews = contact(w) && may_grant(w.host);
    const bool witness_renews = w.primary_witness && !w.claim_recorded;
    if (w.leased && !host_renews && !witness_renews) {
      become("lease ends, the agent stops the application",
             [](world& n) { n.leased = n.primary_runs = false; });
    }
    if (w.power && !w.leased && witness_renews && !w.host.start_owed) {
      become("granted by the witness", [](world& n) { n.leased = n.primary_runs = true; });
    }
  }

  // --- what the daemon notices
  void detection(const world& w) {
    const primary_state& h = w.host;
    const bool pinged = h.at <= phase::blind || h.at == phase::claiming || h.at == phase::blocked ||
                        h.at == phase::taking_over || h.doing == step_id::start_primary;
    if (pinged) deliver(w, happened(contact(w) ? event_kind::probe_ok : event_kind::probe_failed));
    if (with_.blindness) {
      if (!h.host_blind && !w.link) deliver(w, happened(event_kind::host_blind));
      if (h.host_blind && w.link) deliver(w, happened(event_kind::host_sees));
    }
    if (h.at == phase::standing_in && contact(w)) {
      if (w.primary_runs) deliver(w, happened(event_kind::conflict));
      if (!w.primary_runs && !w.agent_owns) deliver(w, happened(event_kind::primary_back));
    }
    if (contact(w)) {
      // This host's record may have been lost, and with it any number of changes of hands.
      const right_owner theirs = w.agent_owns ? right_owner::primary : right_owner::failover_host;
      for (const std::uint64_t seen : {base_epoch - 1, base_epoch, base_epoch + 2}) {
        // Epochs are kept relative: it leads back to this state and only the edge is of interest.
        const event what = saw_epoch(seen, theirs);
        check_edge(w.host, what, step(w.host, what, disabled_));
      }
    }
    if (w.grant_under_way) {
      world next = w;
      next.grant_under_way = false;
      deliver(next, happened(event_kind::slot_granted));
    }
    if ((w.asked == request::asked || w.asked == request::queued) && w.place == place_of::other) {
      world next = w;
      next.asked = request::queued;
      deliver(next, {.kind = event_kind::slot_denied, .position = 1});
    }
    if (w.retry_due) {
      world next = w;
      next.retry_due = false;
      deliver(next, happened(event_kind::retry));
    }
    if (w.settle_due) {
      world next = w;
      next.settle_due = false;
      deliver(next, happened(event_kind::settled));
    }
    if (!h.replication.has_copy && contact(w) && w.primary_runs) deliver(w, happened(event_kind::copy_done));
    if (with_.versions) {
      for (const bool differ : {false, true})
        deliver(w, {.kind = event_kind::versions_compared, .differ = differ});
    }
  }

  // --- steps
  static bool writes_allowed(const world& w) { return contact(w) && !w.primary_runs; }

  bool can_be_done(const world& w) const {
    const primary_state& h = w.host;
    switch (h.doing) {
      case step_id::claim_right:
        // A switchover needs no wait, for stop_primary stops the holder of the lease.
        return compat() || (w.claim_recorded && w.host_witness &&
                            (!w.leased || with_.lease_not_waited_for || h.why_acting == cause::planned));
      case step_id::stop_primary:
      case step_id::drain_primary:
      case step_id::reverse_heal:
      case step_id::drain:
      case step_id::start_primary:
        return contact(w);
      case step_id::stop_stand_in:
        return contact(w) || h.choice != diverged_choice::keep_primary;
      case step_id::set_aside:
        return writes_allowed(w) && (!w.primary_ahead || h.choice != diverged_choice::none);
      case step_id::verify_equal:
        return writes_allowed(w) && !w.copy_ahead && !w.primary_ahead;
      default:
        return true;
    }
  }

  void perform(world& n) {
    switch (n.host.doing) {
      case step_id::stop_primary:
      case step_id::fence:
      case step_id::fence_again:
      case step_id::reverse_heal:  // fences again, and waits for it
        if (contact(n)) n.agent_owns = n.primary_runs = n.leased = false;
        n.image_whole |= n.host.doing == step_id::reverse_heal;
        break;
      case step_id::drain_primary:
        n.primary_ahead = false;
        break;
      case step_id::start_application:
        if (!n.host.replication.has_copy) note(finding::taken_over_without_copy);
        if (n.host.why_acting == cause::planned && n.primary_ahead) note(finding::switchover_lost_data);
        n.stand_in_runs = n.ran = true;
        break;
      case step_id::stop_stand_in:
        if (n.host.choice == diverged_choice::keep_primary) n.agent_owns = n.primary_runs = n.leased = false;
        [[fallthrough]];
      case step_id::stop_application:
        n.stand_in_runs = false;
        break;
      case step_id::drain:
        n.image_whole = true;
        break;
      case step_id::set_aside:
        if (n.host.choice == diverged_choice::keep_primary) {
          n.copy_ahead = false;  // set aside on this host
        } else {
          if (with_.nothing_set_aside && n.primary_ahead) note(finding::data_destroyed);
          n.primary_ahead = false;  // set aside on the primary
          if (n.image_whole) n.copy_ahead = false;
        }
        break;
      case step_id::start_primary:
        n.agent_owns = n.primary_runs = n.leased = true;
        break;
      default:
        break;
    }
  }

  void steps(const world& w) {
    if (!w.step_running || w.host.doing == step_id::none) return;
    const step_id doing = w.host.doing;
    if (can_be_done(w)) {
      world next = w;
      perform(next);
      deliver(next, done(doing), policy::to_string(doing));
    }
    const bool diverged =
        doing == step_id::set_aside && w.primary_ahead && w.host.choice == diverged_choice::none;
    if (!can_be_done(w) || with_.failures) {
      deliver(w, failed(doing, diverged ? failure::diverged : failure::other, ""), "step fails");
    }
    if (with_.failures && doing == step_id::address_probe)
      deliver(w, failed(doing, failure::address_in_use, ""), "address in use");
    if (with_.failures && doing == step_id::start_application) {
      world next = w;
      perform(next);
      deliver(next, failed(doing, failure::other, "", true), "start fails after it ran");
    }
  }

  void operators(const world& w) {
    const primary_state& h = w.host;
    const auto command = [&](event_kind kind, diverged_choice choice = diverged_choice::none,
                             bool force = false) {
      deliver(w, {.kind = kind, .force = force, .choice = choice});
    };
    if (h.at == phase::standing_in || h.at == phase::conflict || h.at == phase::taking_over)
      command(event_kind::operator_stop_failover);
    if (h.at == phase::standing_in || h.at == phase::conflict || h.at == phase::stood_down) {
      for (const auto choice :
           {diverged_choice::none, diverged_choice::discard_primary, diverged_choice::keep_primary}) {
        command(event_kind::operator_failback, choice);
      }
    }
    if (h.at == phase::stood_down) command(event_kind::operator_failover);
    if (with_.by_hand) {
      command(event_kind::operator_failover);
      command(event_kind::operator_failover, diverged_choice::none, true);
      command(event_kind::operator_cancel);
    }
    if (h.at == phase::stood_down) command(event_kind::operator_cancel);
    if (with_.pauses) {
      command(event_kind::operator_suspend);
      command(event_kind::operator_resume);
      command(event_kind::operator_stop);
      command(event_kind::operator_start);
    }
  }

  const settings& with_;
  const guard disabled_;
  const bool stop_at_first_;
  bool stopped_ = false;
  std::size_t current_ = 0;
  report report_;
  std::vector<std::uint64_t> keys_;
  std::vector<origin> origins_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> links_;
  std::unordered_map<std::uint64_t, std::uint32_t> index_;
};

}  // namespace

report explore(const settings& with, guard disabled, bool stop_at_first) {
  return explorer(with, disabled, stop_at_first).run();
}

}  // namespace understudy::policy::model
