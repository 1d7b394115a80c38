#include <gtest/gtest.h>

#include <string_view>

#include "tests/support/lab/lab.hpp"

int main(int argc, char** argv) {
  bool only_listing = false;
  for (int i = 1; i < argc; ++i)
    only_listing |= std::string_view(argv[i]).rfind("--gtest_list_tests", 0) == 0;
  if (!only_listing) understudy::test::become_root();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
