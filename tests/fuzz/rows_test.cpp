// Damaged images and definitions: an error, or rows, but never a crash, and never for long. The same inputs
// each time; `rows_fuzzer` (UNDERSTUDY_LIBFUZZER) looks for others.

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>

#include "tests/fuzz/rows_target.hpp"

namespace understudy::rows::testing {
namespace {

int rounds(int usual) {
  return std::getenv("UNDERSTUDY_SOAK") != nullptr ? 100 * usual : usual;
}

TEST(RowsFuzz, DamagedPages) {
  for (int seed = 0; seed < rounds(1500); ++seed) {
    std::mt19937 random(static_cast<unsigned>(seed));
    std::vector<std::uint8_t> patches(4 * (1 + random() % 12) + random() % 2);
    for (auto& byte : patches) byte = static_cast<std::uint8_t>(random());
    for (std::size_t i = 0; i + 4 <= patches.size(); i += 4) {
      // Mostly where the structure is: the headers and cell pointers, small numbers, page numbers.
      if (random() % 2) patches[i + 2] %= 16, patches[i + 1] &= 0x80;
      if (random() % 2) patches[i + 3] %= 64;
    }
    SCOPED_TRACE(seed);
    decode_patched(patches);
  }
}

TEST(RowsFuzz, DamagedDefinitions) {
  static const std::string text =
      "CREATE TABLE t (a INTEGER PRIMARY KEY DESC, \"b c\" VARCHAR(10, 5) NOT NULL DEFAULT (-(1.5e3)) "
      "COLLATE NOCASE, -- x\n"
      "[d] GENERATED ALWAYS AS (a || ')') STORED, 'e' DEFAULT x'00ff' REFERENCES u (v) ON DELETE SET "
      "DEFAULT, f AS (1),"
      " CONSTRAINT k PRIMARY KEY (a, \"b c\" COLLATE BINARY DESC) CHECK (a /* ( */ > 0)) WITHOUT ROWID, "
      "STRICT";
  std::mt19937 random(1);
  for (int i = 0; i < rounds(20000); ++i) {
    std::string changed = text;
    for (std::size_t n = 1 + random() % 4; n > 0; --n) {
      const std::size_t at = random() % changed.size();
      switch (random() % 3) {
        case 0:
          changed[at] = static_cast<char>(random());
          break;
        case 1:
          changed.erase(at, 1 + random() % 10);
          break;
        default:
          changed.insert(at, text.substr(random() % text.size(), random() % 20));
      }
      if (changed.empty()) changed = "(";
    }
    read_definition({reinterpret_cast<const std::uint8_t*>(changed.data()), changed.size()});
  }
}

}  // namespace
}  // namespace understudy::rows::testing
