#include "common/rpc/utf8.hpp"

#include <gtest/gtest.h>

namespace understudy::rpc {
namespace {

using namespace std::string_view_literals;

TEST(RpcUtf8, IsWhatUnicodeSaysItIs) {
  for (const auto text :
       {""sv, "a\0b"sv, "caf\u00e9"sv, "\u0800\uD7FF\uE000\uFFFD"sv, "\U00010000\U0010FFFF"sv}) {
    EXPECT_TRUE(is_utf8(text)) << text;
    EXPECT_EQ(as_utf8(text), text);
  }
  // Cut off, a byte that leads nothing, too long, surrogates, beyond the last character.
  for (const auto text :
       {"\xC3"sv, "\xE2\x82"sv, "\xF0\x9F\x98"sv, "\x80"sv, "\xFF"sv, "\xC0\x80"sv, "\xE0\x9F\xBF"sv,
        "\xF0\x8F\xBF\xBF"sv, "\xED\xA0\x80"sv, "\xF4\x90\x80\x80"sv, "\xC3("sv}) {
    EXPECT_FALSE(is_utf8(text)) << text;
    EXPECT_TRUE(is_utf8(as_utf8(text)));
  }
  EXPECT_EQ(as_utf8("a\xE9z\xC3"), "a\uFFFDz\uFFFD");
  EXPECT_EQ(as_utf8("\xE2\x82z"), "\uFFFD\uFFFDz") << "byte by byte";
}

}  // namespace
}  // namespace understudy::rpc
