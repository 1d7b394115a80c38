#include "tests/support/lab/frame_filter.hpp"

#include <linux/bpf.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "tests/support/lab/command.hpp"

namespace understudy::test {
namespace {

constexpr std::uint32_t xdp_in_software = 1U << 1;  // XDP_FLAGS_SKB_MODE: works on every adapter

bpf_insn instruction(int code, int to, int from, int offset, std::int32_t value) {
  bpf_insn one{};
  one.code = static_cast<std::uint8_t>(code);
  one.dst_reg = static_cast<std::uint8_t>(to & 0xf);
  one.src_reg = static_cast<std::uint8_t>(from & 0xf);
  one.off = static_cast<std::int16_t>(offset);
  one.imm = value;
  return one;
}

std::vector<bpf_insn> program_for(const std::vector<std::string>& macs) {
  std::vector<bpf_insn> code = {
      instruction(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0),     // r2 = data
      instruction(BPF_LDX | BPF_MEM | BPF_W, 3, 1, 4, 0),     // r3 = data_end
      instruction(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0),   // r4 = r2 + 14
      instruction(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, 14),  //
      instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS),
      instruction(BPF_JMP | BPF_JLE | BPF_X, 4, 3, 1, 0),  // shorter than a header: pass
      instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
      instruction(BPF_LDX | BPF_MEM | BPF_W, 5, 2, 6, 0),  // r5, r6 = source MAC
      instruction(BPF_LDX | BPF_MEM | BPF_H, 6, 2, 10, 0),
  };
  for (const std::string& mac : macs) {
    std::array<unsigned, 6> b{};
    if (std::sscanf(mac.c_str(), "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
      fail("'" + mac + "' is not a MAC");
    const std::array<std::uint8_t, 6> bytes{static_cast<std::uint8_t>(b[0]), static_cast<std::uint8_t>(b[1]),
                                            static_cast<std::uint8_t>(b[2]), static_cast<std::uint8_t>(b[3]),
                                            static_cast<std::uint8_t>(b[4]), static_cast<std::uint8_t>(b[5])};
    std::int32_t first = 0;
    std::uint16_t last = 0;
    std::memcpy(&first, bytes.data(), 4);
    std::memcpy(&last, bytes.data() + 4, 2);
    code.push_back(instruction(BPF_JMP32 | BPF_JNE | BPF_K, 5, 0, 3, first));
    code.push_back(instruction(BPF_JMP32 | BPF_JNE | BPF_K, 6, 0, 2, last));
    code.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP));
    code.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  }
  code.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return code;
}

}  // namespace

os::unique_fd drop_frames_from(const std::string& interface, const std::vector<std::string>& macs) {
  const auto code = program_for(macs);
  const char license[] = "GPL";
  bpf_attr load;
  std::memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_XDP;
  load.insns = reinterpret_cast<std::uintptr_t>(code.data());
  load.insn_cnt = static_cast<std::uint32_t>(code.size());
  load.license = reinterpret_cast<std::uintptr_t>(license);
  const os::unique_fd program(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load)));
  if (!program) return {};
  bpf_attr attach;
  std::memset(&attach, 0, sizeof attach);
  attach.link_create.prog_fd = static_cast<std::uint32_t>(program.value());
  attach.link_create.target_ifindex = if_nametoindex(interface.c_str());
  attach.link_create.attach_type = BPF_XDP;
  attach.link_create.flags = xdp_in_software;
  return os::unique_fd(static_cast<int>(::syscall(SYS_bpf, BPF_LINK_CREATE, &attach, sizeof attach)));
}

}  // namespace understudy::test
