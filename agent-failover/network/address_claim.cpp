#include "agent-failover/network/address_claim.hpp"

#include <fmt/format.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/claim_timing.hpp"
#include "agent-failover/network/neighbour_socket.hpp"
#include "agent-failover/network/netlink.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::network {
namespace {

using clock = std::chrono::steady_clock;

constexpr milliseconds report_spacing{100};  // between two conflict reports about the same machine
constexpr std::size_t machines_remembered =
    64;  // for that spacing; a flood of MACs must not grow without bound
constexpr std::chrono::seconds defend_interval{10};  // RFC 5227 DEFEND_INTERVAL

class threaded_claim final : public address_claim {
 public:
  threaded_claim(std::string adapter_name, ip_network network, claim_events events,
                 neighbour_socket neighbours, netlink_socket changes, os::unique_fd wake)
      : adapter_(std::move(adapter_name)),
        network_(network),
        events_(std::move(events)),
        neighbours_(std::move(neighbours)),
        changes_(std::move(changes)),
        wake_(std::move(wake)),
        random_(std::random_device{}()) {
    thread_ = std::thread([this] { run(); });
    (void)::pthread_setname_np(thread_.native_handle(), "address_claim");
  }

  ~threaded_claim() override {
    post([this] { stop_ = true; });
    thread_.join();
  }

  void probe(acd_timings timings) override {
    post([this, timings] { begin_probe(timings); });
  }
  void stop_probe() override {
    run_there<int>([this] {
      probing_.reset();
      return 0;
    });
  }
  absl::StatusOr<address_presence> add() override {
    return run_there<absl::StatusOr<address_presence>>([this]() -> absl::StatusOr<address_presence> {
      probing_.reset();
      learn_own_macs();
      auto presence = ensure_added(adapter_, network_);
      holding_ = presence.ok();
      return presence;
    });
  }
  void announce() override {
    post([this] { announcing_.emplace(clock::now()); });
  }
  absl::Status release(bool recorded_as_ours) override {
    return run_there<absl::Status>([this, recorded_as_ours] {
      probing_.reset();
      announcing_.reset();
      holding_ = false;
      return ensure_removed(adapter_, network_, recorded_as_ours);
    });
  }

 private:
  // Every operation runs on the claim's thread: it owns the state, and it is in the right network namespace.
  void post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    (void)::eventfd_write(wake_.value(), 1);
  }
  template <class Result>
  Result run_there(std::function<Result()> work) {
    if (std::this_thread::get_id() == thread_id_) return work();  // from a callback
    std::promise<Result> promise;
    post([&] { promise.set_value(work()); });
    return promise.get_future().get();
  }
  void run_tasks() {
    while (true) {
      std::function<void()> task;
      {
        const std::lock_guard lock(mutex_);
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  void run() {
    thread_id_ = std::this_thread::get_id();
    while (!stop_) {
      pollfd sources[3] = {
          {wake_.value(), POLLIN, 0}, {neighbours_.fd(), POLLIN, 0}, {changes_.fd(), POLLIN, 0}};
      timespec limit{};
      const auto until = next_wake();
      if (until) {
        const auto left =
            std::max<std::chrono::nanoseconds>(*until - clock::now(), std::chrono::nanoseconds{0});
        limit.tv_sec = left.count() / 1'000'000'000;
        limit.tv_nsec = left.count() % 1'000'000'000;
      }
      (void)::ppoll(sources, 3, until ? &limit : nullptr, nullptr);
      eventfd_t count = 0;
      if (sources[0].revents != 0) (void)::eventfd_read(wake_.value(), &count);
      run_tasks();
      while (const auto seen = neighbours_.receive()) judge(*seen);
      if (sources[2].revents != 0) note_changes();
      tick();
    }
  }

  std::optional<claim_time> next_wake() const {
    std::optional<claim_time> next;
    if (probing_) next = probing_->next_wake();
    if (announcing_) next = next ? std::min(*next, announcing_->next_wake()) : announcing_->next_wake();
    return next;
  }

  void learn_own_macs() {
    const auto adapters = list_adapters();
    if (!adapters.ok()) return;
    own_macs_.clear();
    for (const adapter& link : *adapters) own_macs_.insert(link.mac);
  }

  void begin_probe(const acd_timings& timings) {
    learn_own_macs();
    while (neighbours_.receive()) {  // what was said before the question is no answer to it
    }
    probing_.emplace(timings, clock::now(), [this](milliseconds least, milliseconds most) {
      return milliseconds{std::uniform_int_distribution<std::int64_t>(least.count(), most.count())(random_)};
    });
    tick();
  }

  void finish_probe(probe_report report) {
    probing_.reset();
    if (events_.on_probed) events_.on_probed(report);
  }

  void judge(const sighting& seen) {
    if (own_macs_.count(seen.mac) != 0) return;
    if (probing_) return finish_probe({probe_verdict::in_use, seen.mac, absl::OkStatus()});
    if (!holding_) return;
    const auto now = clock::now();
    auto& last = reported_[{seen.mac, seen.kind}];
    if (now - last >= report_spacing) {
      last = now;
      if (events_.on_conflict) events_.on_conflict({seen.kind, seen.mac, now});
    }
    if (reported_.size() > machines_remembered) reported_.clear();
    // Neighbours that believed the other machine are told again. The kernel itself answers those who only
    // ask.
    if (announcing_ && seen.kind == conflict_kind::claims && now - defended_ >= defend_interval) {
      defended_ = now;
      (void)neighbours_.send_announcement();
    }
  }

  void tick() {
    const auto now = clock::now();
    if (probing_) switch (probing_->tick(now)) {
        case acd_schedule::step::wait:
          break;
        case acd_schedule::step::probe:
          if (const int error = neighbours_.send_probe(); error != 0)
            finish_probe({probe_verdict::failed, {}, errno_status(error, "probe", subject())});
          break;
        case acd_schedule::step::free:
          finish_probe({probe_verdict::free, {}, absl::OkStatus()});
          break;
      }
    if (!announcing_ || !announcing_->due(now)) return;
    if (holding_) put_back();
    if (const int error = neighbours_.send_announcement(); error != 0)
      trouble(errno_status(error, "announce", subject()));
  }

  // Somebody may take the address away behind our back: an administrator, a network manager, a link that went
  // down (IPv6).
  void put_back() {
    const auto presence = ensure_added(adapter_, network_);
    if (!presence.ok()) return trouble(presence.status());
    if (*presence != address_presence::added) return;
    trouble(absl::AbortedError(fmt::format("{} had vanished and was put back", subject())));
    announcing_.emplace(clock::now());
  }

  void note_changes() {
    char buffer[16 * 1024];
    while (::recv(changes_.fd(), buffer, sizeof buffer, MSG_DONTWAIT) > 0 || errno == ENOBUFS ||
           errno == EINTR)
      errno = 0;
    learn_own_macs();
    const auto link = find_adapter(adapter_);
    const bool carrier = link.ok() && link->carrier;
    if (carrier && !carrier_ && announcing_) announcing_.emplace(clock::now());  // perhaps on another switch
    carrier_ = carrier;
    if (holding_ && carrier) put_back();
  }

  void trouble(const absl::Status& status) {
    if (events_.on_trouble) events_.on_trouble(status);
  }
  std::string subject() const { return fmt::format("{} on {}", to_string(network_.address), adapter_); }

  const std::string adapter_;
  const ip_network network_;
  const claim_events events_;
  neighbour_socket neighbours_;
  netlink_socket changes_;
  const os::unique_fd wake_;

  std::mutex mutex_;  // guards tasks_; everything below them belongs to the thread
  std::deque<std::function<void()>> tasks_;
  std::mt19937_64 random_;
  bool stop_ = false;
  bool holding_ = false;
  bool carrier_ = true;
  std::optional<acd_schedule> probing_;
  std::optional<announce_schedule> announcing_;
  std::set<mac_address> own_macs_;
  std::map<std::pair<mac_address, conflict_kind>, clock::time_point> reported_;
  clock::time_point defended_ = clock::now() - defend_interval;
  std::atomic<std::thread::id> thread_id_;
  std::thread thread_;  // last: everything above is alive while it runs
};

}  // namespace

absl::StatusOr<std::unique_ptr<address_claim>> address_claim::open(const std::string& adapter_name,
                                                                   const ip_network& network,
                                                                   claim_events events) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const adapter link, find_adapter(adapter_name));
  if (!link.ethernet)
    return absl::FailedPreconditionError(
        fmt::format("{} is no Ethernet adapter: an address cannot be adopted on it", adapter_name));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto neighbours, neighbour_socket::open(link, network.address));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto changes,
                              netlink_socket::open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR));
  os::unique_fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return errno_status(errno, "create", "an eventfd");
  return std::make_unique<threaded_claim>(adapter_name, network, std::move(events), std::move(neighbours),
                                          std::move(changes), std::move(wake));
}

}  // namespace understudy::network
