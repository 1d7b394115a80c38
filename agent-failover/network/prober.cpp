#include "agent-failover/network/prober.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <unordered_map>
#include <vector>

#include "agent-failover/network/icmp_socket.hpp"
#include "agent-failover/network/probe_schedule.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::network {
namespace {

struct target_state {
  std::string name;
  std::uint64_t token = 0;
  ip_address address;
  probe_timing timing;
  std::uint64_t place = 0;  // in the stagger
  bool paused = false;
  probe_schedule schedule;
  monotonic_time queued_for;
};

absl::Status validate(const probe_timing& timing) {
  if (timing.timeout.count() > 0 && timing.timeout <= timing.interval) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("ping timeout {} ms must be above 0 and at most the interval {} ms", timing.timeout.count(),
                  timing.interval.count()));
}

class threaded_prober final : public prober {
 public:
  threaded_prober(prober_options options, sample_function on_sample, std::optional<icmp_socket> v4,
                  std::optional<icmp_socket> v6, os::unique_fd wake)
      : options_(options),
        on_sample_(std::move(on_sample)),
        v4_(std::move(v4)),
        v6_(std::move(v6)),
        wake_(std::move(wake)),
        random_((std::uint64_t{std::random_device{}()} << 32) | std::random_device{}()) {
    thread_ = std::thread([this] { run(); });
    (void)::pthread_setname_np(thread_.native_handle(), "prober");
  }

  ~threaded_prober() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    (void)::eventfd_write(wake_.value(), 1);
    thread_.join();
  }

  absl::Status add(const std::string& name, const ip_address& address, probe_timing timing) override {
    UNDERSTUDY_RETURN_IF_ERROR(validate(timing));
    const std::lock_guard lock(mutex_);
    if (tokens_.count(name) != 0)
      return absl::AlreadyExistsError(fmt::format("target '{}' is pinged already", name));
    std::uint64_t token = random_();
    while (targets_.count(token) != 0) token = random_();
    const std::uint64_t place = places_++;
    target_state state{
        name, token, address, timing, place, false, probe_schedule(start_of(place, timing), timing), {}};
    tokens_.emplace(name, token);
    enqueue(targets_.emplace(token, std::move(state)).first->second);
    wake();
    return absl::OkStatus();
  }

  absl::Status update(const std::string& name, const ip_address& address, probe_timing timing) override {
    UNDERSTUDY_RETURN_IF_ERROR(validate(timing));
    const std::lock_guard lock(mutex_);
    target_state* state = find(name);
    if (state == nullptr) return absl::NotFoundError(fmt::format("target '{}' is not pinged", name));
    state->address = address;
    state->timing = timing;
    restart(*state, start_of(state->place, timing));
    return absl::OkStatus();
  }

  void remove(const std::string& name) override {
    const std::lock_guard lock(mutex_);
    target_state* state = find(name);
    if (state == nullptr) return;
    dequeue(*state);
    targets_.erase(tokens_.at(name));
    tokens_.erase(name);
  }

  void pause(const std::string& name) override {
    const std::lock_guard lock(mutex_);
    target_state* state = find(name);
    if (state == nullptr || state->paused) return;
    dequeue(*state);
    state->paused = true;
    state->schedule = probe_schedule(monotonic_clock::now(), state->timing, state->schedule.next_slot());
  }

  void resume(const std::string& name) override {
    const std::lock_guard lock(mutex_);
    target_state* state = find(name);
    if (state == nullptr || !state->paused) return;
    state->paused = false;
    restart(*state, monotonic_clock::now());
  }

  prober_statistics statistics() override {
    const std::lock_guard lock(mutex_);
    prober_statistics result = statistics_;
    result.raw = (v4_ ? v4_ : v6_)->raw();
    statistics_.worst_lag = nanoseconds{0};
    return result;
  }

 private:
  // Everything below `run` and what it calls needs the mutex.
  monotonic_time start_of(std::uint64_t place, const probe_timing& timing) const {
    const nanoseconds interval = timing.interval;
    return monotonic_clock::now() +
           (options_.stagger * static_cast<std::int64_t>(place % 100'000)) % interval;
  }
  target_state* find(const std::string& name) {
    const auto found = tokens_.find(name);
    return found == tokens_.end() ? nullptr : &targets_.at(found->second);
  }
  void enqueue(target_state& state) {
    state.queued_for = state.schedule.next_wake();
    queue_.emplace(state.queued_for, state.token);
  }
  void dequeue(target_state& state) { queue_.erase({state.queued_for, state.token}); }
  void restart(target_state& state, monotonic_time start) {
    if (!state.paused) dequeue(state);
    state.schedule = probe_schedule(start, state.timing, state.schedule.next_slot());
    if (!state.paused) enqueue(state);
    wake();
  }
  // Also on the prober's own thread: a callback may change the queue between the look at it and the sleep.
  void wake() { (void)::eventfd_write(wake_.value(), 1); }

  void run() {
    std::unique_lock lock(mutex_);
    std::vector<probe_sample> samples;
    while (!stop_) {
      const std::optional<monotonic_time> until =
          queue_.empty() ? std::nullopt : std::optional(queue_.begin()->first);
      lock.unlock();
      for (const probe_sample& sample : samples) on_sample_(sample);
      samples.clear();
      sleep_until(until);
      lock.lock();
      // Verdicts are passed as of before the sockets are emptied: no reply that came in time is then unread.
      const monotonic_time now = monotonic_clock::now();
      for (auto* socket : {v4_ ? &*v4_ : nullptr, v6_ ? &*v6_ : nullptr})
        if (socket != nullptr) drain(*socket, samples);
      serve_due(now, samples);
    }
  }

  void sleep_until(std::optional<monotonic_time> until) {
    timespec limit{};
    if (until) {
      const nanoseconds left = std::max<nanoseconds>(*until - monotonic_clock::now(), nanoseconds{0});
      limit.tv_sec = left.count() / 1'000'000'000;
      limit.tv_nsec = left.count() % 1'000'000'000;
    }
    pollfd sources[3] = {
        {wake_.value(), POLLIN, 0}, {v4_ ? v4_->fd() : -1, POLLIN, 0}, {v6_ ? v6_->fd() : -1, POLLIN, 0}};
    (void)::ppoll(sources, 3, until ? &limit : nullptr, nullptr);
    eventfd_t count = 0;
    if (sources[0].revents != 0) (void)::eventfd_read(wake_.value(), &count);
  }

  void drain(icmp_socket& socket, std::vector<probe_sample>& samples) {
    received_reply reply;
    while (true) {
      const auto reading = socket.receive(reply);
      if (reading == icmp_socket::reading::empty) return;
      const auto found =
          reading == icmp_socket::reading::reply ? targets_.find(reply.token.target) : targets_.end();
      std::optional<monotonic_time> sent_at;
      if (found != targets_.end() && !found->second.paused && same_host(found->second.address, reply.source))
        sent_at = found->second.schedule.accept(reply.token.sequence, reply.token.nonce, reply.arrival);
      if (!sent_at) {
        ++statistics_.ignored;
        continue;
      }
      ++statistics_.replies;
      samples.push_back({.target = found->second.name,
                         .sequence = reply.token.sequence,
                         .sent_at = *sent_at,
                         .outcome = probe_outcome::reply,
                         .rtt = std::max<nanoseconds>(reply.arrival - *sent_at, nanoseconds{0})});
      dequeue(found->second);
      enqueue(found->second);
    }
  }

  void serve_due(monotonic_time now, std::vector<probe_sample>& samples) {
    while (!queue_.empty() && queue_.begin()->first <= now) {
      target_state& state = targets_.at(queue_.begin()->second);
      dequeue(state);
      serve(state, now, samples);
      enqueue(state);
    }
  }

  void serve(target_state& state, monotonic_time now, std::vector<probe_sample>& samples) {
    for (const auto& verdict : state.schedule.expire(now))
      samples.push_back({.target = state.name,
                         .sequence = verdict.slot,
                         .sent_at = verdict.sent_at,
                         .outcome = verdict.late ? probe_outcome::host_was_late : probe_outcome::timeout});
    const auto due = state.schedule.due(now);
    statistics_.worst_lag = std::max(statistics_.worst_lag, due.lag);
    if (due.skipped != 0) {
      statistics_.skipped_slots += due.skipped;
      samples.push_back({.target = state.name,
                         .sequence = due.first_skipped,
                         .sent_at = due.first_skipped_due,
                         .outcome = probe_outcome::host_was_late,
                         .skipped = due.skipped});
    }
    if (due.send) send(state, *due.send, samples);
  }

  void send(target_state& state, std::uint64_t slot, std::vector<probe_sample>& samples) {
    std::optional<icmp_socket>& socket = state.address.is_v6() ? v6_ : v4_;
    const echo_token token{state.token, random_(), slot};
    const monotonic_time at = monotonic_clock::now();
    const int error = socket ? socket->send(state.address, token) : EAFNOSUPPORT;
    if (error != 0) {
      samples.push_back({.target = state.name,
                         .sequence = slot,
                         .sent_at = at,
                         .outcome = probe_outcome::send_failed,
                         .error = error});
      return;
    }
    ++statistics_.sent;
    state.schedule.sent(slot, token.nonce, at, monotonic_clock::now());
  }

  const prober_options options_;
  const sample_function on_sample_;
  std::optional<icmp_socket> v4_;
  std::optional<icmp_socket> v6_;
  const os::unique_fd wake_;

  std::mutex mutex_;
  std::mt19937_64 random_;
  std::unordered_map<std::uint64_t, target_state> targets_;   // by token
  std::unordered_map<std::string, std::uint64_t> tokens_;     // by name
  std::set<std::pair<monotonic_time, std::uint64_t>> queue_;  // next wake of each target that is not paused
  std::uint64_t places_ = 0;
  prober_statistics statistics_;
  bool stop_ = false;
  std::thread thread_;  // last: everything above is alive while it runs
};

}  // namespace

const char* to_string(probe_outcome outcome) {
  switch (outcome) {
    case probe_outcome::reply:
      return "reply";
    case probe_outcome::timeout:
      return "timeout";
    case probe_outcome::send_failed:
      return "send failed";
    case probe_outcome::host_was_late:
      return "host was late";
  }
  return "?";
}

absl::StatusOr<std::unique_ptr<prober>> prober::open(prober_options options, sample_function on_sample) {
  std::random_device seed;
  const auto identifier = static_cast<std::uint16_t>(seed());
  std::optional<icmp_socket> sockets[2];
  absl::Status refused;
  for (const bool v6 : {false, true}) {
    const int family = v6 ? AF_INET6 : AF_INET;
    absl::StatusOr<icmp_socket> socket = absl::PermissionDeniedError("raw sockets were not asked for");
    if (options.allow_raw) socket = icmp_socket::open(family, true, identifier);
    if (absl::IsPermissionDenied(socket.status())) socket = icmp_socket::open(family, false, identifier);
    if (socket.ok())
      sockets[v6] = std::move(*socket);
    else if (!absl::IsUnimplemented(socket.status()))
      refused = socket.status();
  }
  if (!sockets[0] && !sockets[1]) {
    if (absl::IsPermissionDenied(refused))
      return absl::PermissionDeniedError(
          "ping is not allowed: give the program CAP_NET_RAW (AmbientCapabilities=CAP_NET_RAW in its unit), "
          "or add its "
          "group to the range in the sysctl net.ipv4.ping_group_range");
    return refused.ok() ? absl::UnavailableError("the kernel offers no ICMP sockets") : refused;
  }
  os::unique_fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return errno_status(errno, "create", "an eventfd");
  return std::make_unique<threaded_prober>(options, std::move(on_sample), std::move(sockets[0]),
                                           std::move(sockets[1]), std::move(wake));
}

}  // namespace understudy::network
