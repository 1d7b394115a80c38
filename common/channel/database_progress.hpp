#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace understudy::channel {

// Where one database stream stands, for status. A value: copied out of either end's session.
struct database_progress {
  enum class phase {
    waiting,    // the source is not ready (absent, being scanned, refused): `reason` says which
    comparing,  // page hashes are being compared
    healing,    // pages that differ travel: `done_bytes` of `total_bytes`
    streaming,  // every commit follows as it happens
    drained,    // a planned end: everything was sent and is durable
  };
  phase now = phase::waiting;
  bool absent = false;            // waiting, for the source has no such file
  bool refused = false;           // waiting, for the source cannot capture it
  std::uint64_t done_bytes = 0;   // of the heal under way or the source's scan
  std::uint64_t total_bytes = 0;  // an estimate: a heal grows when the application writes meanwhile
  std::uint64_t durable = 0;      // last transaction that survives a power cut, in the source's numbering
  std::chrono::system_clock::time_point durable_captured_at;  // when that one was seen at the source
  // The copy contained everything that the source knew at this moment, by the source's clock.
  std::chrono::system_clock::time_point current_at;
  std::uint64_t source_number = 0;  // the newest transaction heard of
  std::uint64_t missing_bytes = 0;  // of those after `durable`, about; as last heard of
  // The source's clock less ours, less the way of a message.
  std::chrono::system_clock::duration clock_ahead{};
  std::uint64_t heals = 0;     // completed in this stream
  std::uint64_t restarts = 0;  // comparisons begun again in this stream: gaps, refused transactions
  std::string reason;          // of the last heal, restart or waiting; empty: there was none
  std::chrono::steady_clock::time_point last_heard;  // last message of the other end
  std::uint64_t received_bytes = 0;                  // from the other end in this stream
  std::uint64_t sent_bytes = 0;                      // to the other end in this stream
};

const char* to_string(database_progress::phase phase);

}  // namespace understudy::channel
