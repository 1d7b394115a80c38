#pragma once

// The right to run as the agent holds it, durable: written before it is acted on, so that a power cut between
// the two ends in the safer of both states.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::os {
class directory;
}

namespace understudy::lease {

enum class right_owner {
  unknown,        // never told: a fresh install
  primary,        // applications may run here
  failover_host,  // a stand-in may run there: applications stay down here, also after a reboot
};
const char* to_string(right_owner owner);

struct service_address {
  std::string address;    // "10.0.0.5"
  int prefix_length = 0;  // 0: that of the connected network it lies in
  std::string adapter;    // empty: the one with an on-link route to it
  friend bool operator==(const service_address&, const service_address&) = default;
};

struct right_record {
  std::uint64_t epoch = 0;  // never decreases
  right_owner owner = right_owner::unknown;
  std::string owner_name;
  std::string reason;           // for people
  std::int64_t since_unix = 0;  // seconds
  std::string host_address;     // where the gate asks at the next boot: "10.0.0.9:7200"
  std::string server;           // the name under which the host knows this primary
  bool leased = false;          // guarded or strict: without an answer the applications stay down
  std::vector<service_address> service_addresses;
  friend bool operator==(const right_record&, const right_record&) = default;
};

std::string format_record(const right_record& record);
// kDataLoss for anything but a whole, checksummed record.
absl::StatusOr<right_record> parse_record(std::string_view text);

// `right` in this directory. A missing file is a fresh record; a damaged one is kDataLoss, and then the gate
// must not guess: it asks, and keeps the applications down until somebody answers.
absl::StatusOr<right_record> load_record(os::directory& state);
absl::Status store_record(os::directory& state, const right_record& record);

}  // namespace understudy::lease
