#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <thread>

#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/netlink.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::network {
namespace {

constexpr int merge_ms = 20;  // a link that comes up sends a dozen messages within a few ms

class watcher final : public adapter_watcher {
 public:
  watcher(netlink_socket socket, os::unique_fd stop, std::function<void()> on_change)
      : socket_(std::move(socket)),
        stop_(std::move(stop)),
        on_change_(std::move(on_change)),
        thread_([this] { run(); }) {}
  ~watcher() override {
    (void)::eventfd_write(stop_.value(), 1);
    thread_.join();
  }

 private:
  bool stopped(int timeout_ms) {
    pollfd one{stop_.value(), POLLIN, 0};
    return ::poll(&one, 1, timeout_ms) > 0;
  }

  void run() {
    char buffer[16 * 1024];
    while (true) {
      pollfd both[2] = {{socket_.fd(), POLLIN, 0}, {stop_.value(), POLLIN, 0}};
      if (::poll(both, 2, -1) < 0 && errno != EINTR) return;
      if (both[1].revents != 0) return;
      if (both[0].revents == 0) continue;
      if (stopped(merge_ms)) return;
      // What was said does not matter, nor that some of it was lost (ENOBUFS): the listener looks again
      // anyway.
      while (::recv(socket_.fd(), buffer, sizeof buffer, MSG_DONTWAIT) > 0 || errno == ENOBUFS ||
             errno == EINTR)
        errno = 0;
      on_change_();
    }
  }

  netlink_socket socket_;
  os::unique_fd stop_;
  std::function<void()> on_change_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<adapter_watcher>> adapter_watcher::open(std::function<void()> on_change) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket,
                              netlink_socket::open(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR));
  os::unique_fd stop(::eventfd(0, EFD_CLOEXEC));
  if (!stop) return errno_status(errno, "create", "an eventfd");
  return std::make_unique<watcher>(std::move(socket), std::move(stop), std::move(on_change));
}

}  // namespace understudy::network
