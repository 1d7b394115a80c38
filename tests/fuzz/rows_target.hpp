#pragma once

// Inputs for the row decoder, from bytes that may be anything: what both the deterministic test and libFuzzer
// call.

#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::rows::testing {

// The bytes are a list of patches, four bytes each (page, place in the page, a byte), to two images that
// SQLite wrote; the decoder opens the first and decodes the step to the second, and then one back.
void decode_patched(std::span<const std::uint8_t> patches);

// The bytes are the text of a CREATE TABLE.
void read_definition(std::span<const std::uint8_t> text);

}  // namespace understudy::rows::testing
