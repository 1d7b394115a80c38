#include "agent-failover/server/service_addresses.hpp"

#include <fmt/core.h>

#include <utility>

#include "agent-failover/server/adapter_choice.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using std::chrono::milliseconds;

// A host route's prefix: the address is adopted without any network of its own, so that removing it takes no
// route along.
int host_prefix(const network::ip_address& address) {
  return address.is_v6() ? 128 : 32;
}

}  // namespace

std::vector<std::string> adopted_addresses(const v1::ServerSpec& spec) {
  std::vector<std::string> addresses;
  if (!spec.assume_ip()) return addresses;
  for (const auto& service : spec.service_addresses()) addresses.push_back(service.address());
  if (addresses.empty()) addresses.push_back(spec.address());
  return addresses;
}

service_addresses::service_addresses(const v1::ServerSpec& spec, const v1::Settings& settings,
                                     conflict_callback on_conflict)
    : settings_(settings), on_conflict_(std::move(on_conflict)) {
  for (const auto& address : adopted_addresses(spec)) {
    auto one = std::make_unique<item>();
    one->text = address;
    items_.push_back(std::move(one));
  }
}

absl::Status service_addresses::open(item& one) {
  if (one.claim) return absl::OkStatus();
  one.adapter = adapter_for(one.text, settings_);
  if (one.adapter.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("no adapter of this host has an on-link route to {}: put this host into the same subnet, "
                    "or choose the "
                    "adapter with `understudyctl settings set adapter=...`",
                    one.text));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(one.network.address, network::parse_ip_address(one.text));
  one.network.prefix_length = host_prefix(one.network.address);
  network::claim_events events{
      .on_probed =
          [&one](const network::probe_report& report) {
            std::lock_guard lock(one.mutex);
            one.report = report;
            one.reported = true;
            one.probed.notify_all();
          },
      .on_conflict = [this,
                      &one](const network::address_conflict& conflict) { on_conflict_(one.text, conflict); },
      .on_trouble =
          [&one](const absl::Status& status) {
            log::warning("", "address {}: {}", one.text, message_of(status));
          },
  };
  UNDERSTUDY_ASSIGN_OR_RETURN(one.claim,
                              network::address_claim::open(one.adapter, one.network, std::move(events)));
  return absl::OkStatus();
}

absl::Status service_addresses::probe(const network::acd_timings& timings) {
  if (held_) return absl::OkStatus();
  for (auto& one : items_) {
    UNDERSTUDY_RETURN_IF_ERROR(open(*one));
    std::lock_guard lock(one->mutex);
    one->reported = false;
  }
  for (auto& one : items_) one->claim->probe(timings);
  const auto longest =
      timings.first_wait + timings.probes * timings.spacing_max + timings.last_wait + milliseconds{1000};
  const auto deadline = std::chrono::steady_clock::now() + longest;
  for (auto& one : items_) {
    std::unique_lock lock(one->mutex);
    if (!one->probed.wait_until(lock, deadline, [&] { return one->reported; })) {
      return absl::DeadlineExceededError(fmt::format("probing {} did not end", one->text));
    }
    if (one->report.verdict == network::probe_verdict::in_use) {
      return absl::AlreadyExistsError(
          fmt::format("{} is in use by {}", one->text, network::to_string(one->report.mac)));
    }
    if (one->report.verdict == network::probe_verdict::failed) return one->report.error;
  }
  return absl::OkStatus();
}

absl::Status service_addresses::add() {
  for (auto& one : items_) {
    UNDERSTUDY_RETURN_IF_ERROR(open(*one));
    UNDERSTUDY_RETURN_IF_ERROR(one->claim->add().status());
  }
  held_ = true;
  return absl::OkStatus();
}

void service_addresses::announce() {
  for (auto& one : items_) {
    if (one->claim) one->claim->announce();
  }
}

absl::Status service_addresses::release() {
  absl::Status first;
  for (auto& one : items_) {
    absl::Status status = open(*one);
    if (status.ok()) status = one->claim->release();
    if (first.ok()) first = status;
  }
  if (first.ok()) held_ = false;
  return first;
}

}  // namespace understudy::server
