#include <gtest/gtest.h>

#include "agent-failover/network/ip_address.hpp"
#include "agent-failover/network/mac_address.hpp"

namespace understudy::network {
namespace {

TEST(ip_address, text_round_trips) {
  for (const char* text :
       {"10.0.0.9", "0.0.0.0", "255.255.255.255", "fd77::9", "::", "fe80::1%lo", "::ffff:1.2.3.4"})
    EXPECT_EQ(to_string(parse_ip_address(text).value()), text);
}

TEST(ip_address, nonsense_is_refused) {
  for (const char* text : {"", "10.0.0", "10.0.0.256", "10.0.0.9 ", "fd77::9%lo", "10.0.0.9%lo", "fe80::1%",
                           "fe80::1%no-such-adapter", "example.org", "1:2", "10.0.0.9/24"})
    EXPECT_FALSE(parse_ip_address(text).ok()) << text;
  EXPECT_FALSE(parse_ip_address(std::string_view("10.0.0.9\0x", 10)).ok());
}

TEST(ip_network, prefix_decides_what_it_contains) {
  const auto subnet = parse_ip_network("10.77.3.1/22").value();
  EXPECT_TRUE(subnet.contains(parse_ip_address("10.77.0.200").value()));
  EXPECT_TRUE(subnet.contains(parse_ip_address("10.77.3.255").value()));
  EXPECT_FALSE(subnet.contains(parse_ip_address("10.77.4.0").value()));
  EXPECT_FALSE(subnet.contains(parse_ip_address("fd77::1").value()));
  EXPECT_TRUE(parse_ip_network("fd77::1/64").value().contains(parse_ip_address("fd77::ffff").value()));
  EXPECT_EQ(parse_ip_network("10.0.0.9").value().prefix_length, 32);
  EXPECT_EQ(parse_ip_network("fd77::9").value().prefix_length, 128);
  for (const char* text :
       {"10.0.0.9/33", "10.0.0.9/0", "10.0.0.9/", "10.0.0.9/-1", "10.0.0.9/2x", "fd77::/129", "/24"})
    EXPECT_FALSE(parse_ip_network(text).ok()) << text;
}

TEST(mac_address, text_round_trips) {
  EXPECT_EQ(to_string(parse_mac_address("02:00:5e:10:ff:01").value()), "02:00:5e:10:ff:01");
  for (const char* text :
       {"", "02:00:5e:10:ff", "02:00:5e:10:ff:0g", "02-00-5e-10-ff-01", "02:00:5e:10:ff:011"})
    EXPECT_FALSE(parse_mac_address(text)) << text;
}

}  // namespace
}  // namespace understudy::network
