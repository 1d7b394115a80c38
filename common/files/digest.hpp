#pragma once

// XXH3-128 of file contents: tells accidental differences apart. Not a defence against a peer that forges
// one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace understudy::files {

struct digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const digest&, const digest&) = default;
};

digest digest_of(std::string_view content);

// 16 bytes, big-endian, as on the wire.
std::string to_bytes(const digest& d);
// Nothing unless there are 16 bytes.
std::optional<digest> digest_from_bytes(std::string_view bytes);

// A digest of content that comes in pieces, in order.
class digest_builder {
 public:
  digest_builder();
  void add(std::span<const std::byte> bytes);
  void add(std::string_view bytes) { add(std::as_bytes(std::span(bytes.data(), bytes.size()))); }
  void add_zeros(std::uint64_t count);
  digest result() const;

 private:
  struct destroy {
    void operator()(void* state) const;
  };
  std::unique_ptr<void, destroy> state_;
};

}  // namespace understudy::files
