#include "agent-failover/actors/command_events.hpp"

#include <fmt/core.h>

#include "agent-failover/server/service_addresses.hpp"
#include "agent-failover/server/spec_check.hpp"

namespace understudy::actors {
namespace {

using policy::event;
using policy::event_kind;

constexpr std::chrono::hours default_suspension{
    4};  // a forgotten suspension must not leave a server unprotected

event_kind kind_of(api::verb what) {
  switch (what) {
    case api::verb::suspend:
      return event_kind::operator_suspend;
    case api::verb::resume:
      return event_kind::operator_resume;
    case api::verb::stop:
      return event_kind::operator_stop;
    case api::verb::start:
      return event_kind::operator_start;
    case api::verb::failover:
      return event_kind::operator_failover;
    case api::verb::stop_failover:
      return event_kind::operator_stop_failover;
    case api::verb::failback:
      return event_kind::operator_failback;
    case api::verb::replicate_from_live:
      return event_kind::operator_replicate_from_live;
    case api::verb::replicate_to_live:
      return event_kind::operator_replicate_to_live;
    case api::verb::verify:
      return event_kind::replication_changed;
    case api::verb::cancel:
      return event_kind::operator_cancel;
  }
  return event_kind::operator_cancel;
}

std::string address_sentence(const v1::ServerSpec& spec, const char* format_text) {
  std::string list;
  for (const auto& address : server::adopted_addresses(spec)) list += (list.empty() ? "" : ", ") + address;
  return list.empty() ? "" : fmt::format(fmt::runtime(format_text), list);
}

}  // namespace

event event_of(const api::command& command, std::chrono::system_clock::time_point now) {
  event e;
  e.kind = kind_of(command.what);
  e.by = command.actor;
  e.reason = command.reason;
  e.force = command.force;
  e.choice = to_policy(command.choice);
  std::optional<std::chrono::seconds> period = command.period;
  if (command.what == api::verb::suspend && !period) period = default_suspension;
  if (period) {
    e.until_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>((now + *period).time_since_epoch()).count();
  }
  return e;
}

std::string effect_of(const api::command& command, const v1::ServerSpec& spec,
                      const policy::primary_state& state) {
  const std::string& name = spec.name();
  switch (command.what) {
    case api::verb::suspend:
      return fmt::format("{} is no longer monitored and its files are no longer copied; its databases are",
                         name);
    case api::verb::resume:
      return fmt::format("{} is monitored again; files changed meanwhile are copied at once", name);
    case api::verb::stop:
      return fmt::format("{} is neither monitored nor copied until it is started", name);
    case api::verb::start:
      return fmt::format("{} is monitored again; its databases and files are healed", name);
    case api::verb::failover:
      if (command.force) {
        return fmt::format(
            "this host takes over {} without asking the primary: commits that have not arrived are left "
            "behind there, and "
            "if the primary still runs, two copies of the application run until it hears of it{}",
            name, address_sentence(spec, "; {} is adopted"));
      }
      return fmt::format(
          "the applications of {} are stopped on the primary, the last commits are fetched, and this host "
          "serves instead{}; nothing is lost",
          name, address_sentence(spec, ", under {}"));
    case api::verb::stop_failover:
      return fmt::format(
          "the stand-in of {} is stopped{}: nobody serves until `failback`, `replicate to-live` or "
          "`failover` again",
          name, address_sentence(spec, " and {} is released"));
    case api::verb::failback:
      if (command.choice == v1::DIVERGED_CHOICE_KEEP_PRIMARY) {
        return fmt::format(
            "the stand-in of {} stops{}, and the primary's applications start on the primary's own data; "
            "what the "
            "stand-in wrote is set aside on this host, and the server is unprotected until the next copy",
            name, address_sentence(spec, ", {} is released"));
      }
      return fmt::format(
          "the data made meanwhile, new databases under its wildcards included, is brought to the primary {} "
          "while "
          "the stand-in serves; then the stand-in "
          "stops{}, and the primary's applications start{}",
          name, address_sentence(spec, ", {} is released"),
          command.choice == v1::DIVERGED_CHOICE_DISCARD_PRIMARY
              ? "; data that only the primary has is set aside there"
              : "");
    case api::verb::replicate_from_live:
      return fmt::format(
          "the copy of {} is compared with the primary and healed; what differs here is replaced", name);
    case api::verb::replicate_to_live:
      return fmt::format(
          "the data of the copy replaces the data on the primary {}, which is set aside there if it differs; "
          "then its applications start",
          name);
    case api::verb::verify:
      return fmt::format("every copy of {} is compared with the primary by its hashes", name);
    case api::verb::cancel:
      return fmt::format("{} of {} is cancelled", policy::name_of(state), name);
  }
  return "";
}

v1::OperationKind operation_of(api::verb what) {
  switch (what) {
    case api::verb::failover:
      return v1::OPERATION_KIND_FAILOVER;
    case api::verb::stop_failover:
      return v1::OPERATION_KIND_STOP_FAILOVER;
    case api::verb::failback:
      return v1::OPERATION_KIND_FAILBACK;
    case api::verb::replicate_from_live:
      return v1::OPERATION_KIND_REPLICATE_FROM_LIVE;
    case api::verb::replicate_to_live:
      return v1::OPERATION_KIND_REPLICATE_TO_LIVE;
    case api::verb::verify:
      return v1::OPERATION_KIND_VERIFY;
    default:
      return v1::OPERATION_KIND_UNSPECIFIED;
  }
}

const char* word_of(v1::OperationKind kind) {
  switch (kind) {
    case v1::OPERATION_KIND_FAILOVER:
      return "failover";
    case v1::OPERATION_KIND_STOP_FAILOVER:
      return "stop-failover";
    case v1::OPERATION_KIND_FAILBACK:
      return "failback";
    case v1::OPERATION_KIND_REPLICATE_FROM_LIVE:
      return "replicate-from-live";
    case v1::OPERATION_KIND_REPLICATE_TO_LIVE:
      return "replicate-to-live";
    case v1::OPERATION_KIND_VERIFY:
      return "verify";
    case v1::OPERATION_KIND_RESTORE:
      return "restore";
    default:
      return "operation";
  }
}

policy::diverged_choice to_policy(v1::DivergedChoice choice) {
  switch (choice) {
    case v1::DIVERGED_CHOICE_DISCARD_PRIMARY:
      return policy::diverged_choice::discard_primary;
    case v1::DIVERGED_CHOICE_KEEP_PRIMARY:
      return policy::diverged_choice::keep_primary;
    default:
      return policy::diverged_choice::none;
  }
}

policy::options options_of(const v1::ServerSpec& spec, const v1::Settings& settings) {
  const v1::PingSettings ping = server::effective_ping(spec, settings);
  policy::options options;
  options.warning_count = ping.warning_count();
  options.failover_count = ping.failover_count();
  options.failover_count_after_reboot = ping.failover_count_after_reboot();
  options.mode = policy::protection::compat;
  options.assume_ip = spec.assume_ip();
  options.auto_stop = spec.auto_stop();
  options.manual_only = spec.manual_only();
  options.allow_version_difference = spec.allow_version_difference();
  options.auto_stop_choice = to_policy(spec.auto_stop_choice());
  return options;
}

}  // namespace understudy::actors
