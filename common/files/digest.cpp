#include "common/files/digest.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>

namespace understudy::files {
namespace {

XXH3_state_t* state_of(void* state) {
  return static_cast<XXH3_state_t*>(state);
}

}  // namespace

digest digest_of(std::string_view content) {
  const XXH128_hash_t hash = XXH3_128bits(content.data(), content.size());
  return {.high = hash.high64, .low = hash.low64};
}

std::string to_bytes(const digest& d) {
  std::string bytes(16, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>(d.high >> (56 - 8 * i));
    bytes[8 + i] = static_cast<char>(d.low >> (56 - 8 * i));
  }
  return bytes;
}

std::optional<digest> digest_from_bytes(std::string_view bytes) {
  if (bytes.size() != 16) return std::nullopt;
  digest d;
  for (std::size_t i = 0; i < 8; ++i) {
    d.high = d.high << 8 | static_cast<unsigned char>(bytes[i]);
    d.low = d.low << 8 | static_cast<unsigned char>(bytes[8 + i]);
  }
  return d;
}

digest_builder::digest_builder() : state_(XXH3_createState()) {
  XXH3_128bits_reset(state_of(state_.get()));
}

void digest_builder::destroy::operator()(void* state) const {
  XXH3_freeState(state_of(state));
}

void digest_builder::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_of(state_.get()), bytes.data(), bytes.size());
}

void digest_builder::add_zeros(std::uint64_t count) {
  static constexpr std::array<std::byte, 65536> zeros{};
  while (count > 0) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(count, zeros.size()));
    add(std::span(zeros).first(n));
    count -= n;
  }
}

digest digest_builder::result() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_of(state_.get()));
  return {.high = hash.high64, .low = hash.low64};
}

}  // namespace understudy::files
