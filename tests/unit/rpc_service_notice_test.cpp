// What systemd would hear.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/os/unique_fd.hpp"
#include "common/rpc/service_notice.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::rpc {
namespace {

class service_notice_at : public ::testing::TestWithParam<bool> {
 protected:
  service_notice_at() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const std::string name =
        GetParam() ? "@understudy-test-" + std::to_string(::getpid()) : directory_.path() + "/notify";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (GetParam()) address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(socket_.value(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  }
  ~service_notice_at() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }
  std::string heard() {
    std::array<char, 256> bytes;
    const ssize_t got = ::recv(socket_.value(), bytes.data(), bytes.size(), 0);
    return got < 0 ? "" : std::string(bytes.data(), static_cast<std::size_t>(got));
  }

  test::temporary_directory directory_;
  os::unique_fd socket_;
};

TEST_P(service_notice_at, every_notice_is_one_datagram) {
  service_notice::ready();
  EXPECT_EQ(heard(), "READY=1");
  service_notice::status("two\nlines");
  EXPECT_EQ(heard(), "STATUS=two lines");
  service_notice::reloading();
  EXPECT_TRUE(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
  service_notice::alive();
  EXPECT_EQ(heard(), "WATCHDOG=1");
  service_notice::stopping();
  EXPECT_EQ(heard(), "STOPPING=1");
  ::unsetenv("NOTIFY_SOCKET");
  service_notice::ready();
  EXPECT_EQ(heard(), "");
}

TEST_P(service_notice_at, the_watchdog_is_fed_twice_per_period_and_only_by_whom_it_watches) {
  EXPECT_EQ(service_notice::alive_interval().count(), 0);
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  EXPECT_EQ(service_notice::alive_interval().count(), 15000);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(service_notice::alive_interval().count(), 15000);
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(service_notice::alive_interval().count(), 0);
}

INSTANTIATE_TEST_SUITE_P(names, service_notice_at, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "abstract" : "path"; });

}  // namespace
}  // namespace understudy::rpc
