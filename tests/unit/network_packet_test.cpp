#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "agent-failover/network/arp_packet.hpp"
#include "agent-failover/network/icmp_packet.hpp"
#include "agent-failover/network/ndp_packet.hpp"
#include "agent-failover/network/netlink.hpp"

namespace understudy::network {
namespace {

using bytes = std::vector<std::uint8_t>;

ip_address ip(const char* text) {
  return parse_ip_address(text).value();
}
mac_address mac(const char* text) {
  return parse_mac_address(text).value();
}

bytes echo_reply_of(bool v6, const echo_token& token) {
  const auto request = encode_echo_request(v6, 77, token);
  bytes reply(request.begin(), request.end());
  reply[0] = v6 ? 129 : 0;
  if (!v6) {
    reply[2] = reply[3] = 0;
    const auto sum = internet_checksum({reply});
    reply[2] = static_cast<std::uint8_t>(sum >> 8);
    reply[3] = static_cast<std::uint8_t>(sum);
  }
  return reply;
}

// Truncations, single bit flips and noise, from buffers of exactly that size so that ASan sees any step
// beyond.
template <class Parse>
void feed_hostile_inputs(const bytes& valid, Parse parse) {
  for (std::size_t size = 0; size <= valid.size(); ++size) {
    const bytes cut(valid.begin(), valid.begin() + static_cast<std::ptrdiff_t>(size));
    parse(cut);
  }
  for (std::size_t bit = 0; bit < valid.size() * 8; ++bit) {
    bytes changed = valid;
    changed[bit / 8] = static_cast<std::uint8_t>(changed[bit / 8] ^ (1 << (bit % 8)));
    parse(changed);
  }
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    bytes noise(random() % 120);
    std::generate(noise.begin(), noise.end(), [&] { return static_cast<std::uint8_t>(random()); });
    if (round % 2 == 0)
      std::copy_n(valid.begin(), std::min<std::size_t>({noise.size(), valid.size(), 42}), noise.begin());
    parse(noise);
  }
}

TEST(icmp_packet, reply_brings_the_token_back) {
  const echo_token token{0x1122334455667788, 0x99aabbccddeeff00, 0x10001};
  for (const bool v6 : {false, true}) {
    const auto reply = parse_echo_reply(v6, echo_reply_of(v6, token));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->identifier, 77);
    EXPECT_EQ(reply->sequence, 1);
    EXPECT_EQ(reply->token, token);
    EXPECT_FALSE(parse_echo_reply(!v6, echo_reply_of(v6, token)));
    EXPECT_FALSE(parse_echo_reply(v6, encode_echo_request(v6, 77, token))) << "our own request is no reply";
  }
}

TEST(icmp_packet, a_damaged_ipv4_reply_is_refused) {
  auto reply = echo_reply_of(false, {1, 2, 3});
  reply[30] ^= 1;
  EXPECT_FALSE(parse_echo_reply(false, reply));
}

TEST(icmp_packet, hostile_bytes_are_survived) {
  for (const bool v6 : {false, true})
    feed_hostile_inputs(echo_reply_of(v6, {1, 2, 3}), [&](const bytes& input) {
      (void)parse_echo_reply(v6, input);
      (void)parse_echo_reply(v6, ipv4_payload(input));
    });
  bytes lying(20, 0);
  lying[0] = 0x4f;  // claims a header of 60 bytes
  lying[9] = 1;
  EXPECT_TRUE(ipv4_payload(lying).empty());
}

TEST(arp_packet, round_trip) {
  const auto self = mac("02:75:73:00:00:01");
  const auto sent = arp_announcement(arp_operation::reply, self, ip("10.0.0.9"));
  const auto read = parse_arp(encode_arp(sent));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->operation, arp_operation::reply);
  EXPECT_EQ(read->sender_mac, self);
  EXPECT_EQ(read->sender, ip("10.0.0.9"));
  EXPECT_EQ(read->target, ip("10.0.0.9"));
  EXPECT_TRUE(parse_arp(encode_arp(arp_probe(self, ip("10.0.0.9"))))->sender.is_unspecified());
}

TEST(arp_packet, hostile_bytes_are_survived) {
  const auto valid = encode_arp(arp_probe(mac("02:75:73:00:00:01"), ip("10.0.0.9")));
  feed_hostile_inputs(bytes(valid.begin(), valid.end()), [](const bytes& input) { (void)parse_arp(input); });
  EXPECT_FALSE(parse_arp(std::span(valid).first(arp_size - 1)));
  auto other = valid;
  other[7] = 3;  // RARP
  EXPECT_FALSE(parse_arp(other));
}

TEST(ndp_packet, round_trip) {
  const auto self = mac("02:75:73:00:00:01");
  const auto advertisement = parse_ndp(encode_ndp(unsolicited_advertisement(self, ip("fd77::9"))));
  ASSERT_TRUE(advertisement);
  EXPECT_EQ(advertisement->kind, ndp_kind::advertisement);
  EXPECT_TRUE(advertisement->override_entry);
  EXPECT_EQ(advertisement->link, self);
  EXPECT_EQ(to_string(advertisement->destination), "ff02::1");
  const auto probe = parse_ndp(encode_ndp(duplicate_address_probe(ip("fd77::12:3456"))));
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->kind, ndp_kind::solicitation);
  EXPECT_TRUE(probe->source.is_unspecified());
  EXPECT_EQ(to_string(probe->destination), "ff02::1:ff12:3456");
  EXPECT_EQ(to_string(multicast_mac(probe->destination)), "33:33:ff:12:34:56");
}

TEST(ndp_packet, hostile_bytes_are_survived) {
  const auto valid = encode_ndp(unsolicited_advertisement(mac("02:75:73:00:00:01"), ip("fd77::9")));
  feed_hostile_inputs(valid, [](const bytes& input) { (void)parse_ndp(input); });
  bytes forwarded = valid;
  forwarded[7] = 254;  // came through a router
  EXPECT_FALSE(parse_ndp(forwarded));
  bytes damaged = valid;
  damaged[50] ^= 1;
  EXPECT_FALSE(parse_ndp(damaged));
}

TEST(netlink, attributes_that_do_not_fit_end_the_walk) {
  netlink_request request(0, 0, std::uint32_t{0});
  request.attribute(7, std::uint16_t{1}).attribute(8, std::uint32_t{2});
  const bytes valid(request.bytes().begin() + 20, request.bytes().end());
  int seen = 0;
  for_each_attribute(valid, [&](std::uint16_t, std::span<const std::uint8_t>) { ++seen; });
  EXPECT_EQ(seen, 2);
  feed_hostile_inputs(valid, [](const bytes& input) {
    for_each_attribute(input, [](std::uint16_t, std::span<const std::uint8_t> data) {
      volatile std::uint8_t sink = 0;
      for (const auto byte : data) sink = byte;
      (void)sink;
    });
  });
}

}  // namespace
}  // namespace understudy::network
