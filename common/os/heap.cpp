#include "common/os/heap.hpp"

#include <malloc.h>

namespace understudy::os {

namespace {

constexpr std::uint64_t much = 16 << 20;  // less leaves nothing to speak of

}  // namespace

void give_back_heap() noexcept {
  ::malloc_trim(0);
}

void give_back_heap_after(std::uint64_t bytes) noexcept {
  if (bytes >= much) give_back_heap();
}

}  // namespace understudy::os
