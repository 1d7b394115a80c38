// libFuzzer's entry to the row decoder: build/fuzz/bin/rows_fuzzer DIRECTORY -max_total_time=600

#include "tests/fuzz/rows_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace understudy::rows::testing;
  if (size == 0) return 0;
  const std::span<const std::uint8_t> rest(data + 1, size - 1);
  data[0] % 4 == 0 ? read_definition(rest) : decode_patched(rest);
  return 0;
}
