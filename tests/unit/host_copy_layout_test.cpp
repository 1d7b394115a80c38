#include "agent-failover/server/copy_layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/os/file_system.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

using testing::ElementsAre;

v1::ServerSpec spec_with(const std::vector<std::string>& databases, const std::vector<std::string>& trees) {
  v1::ServerSpec spec;
  spec.set_name("p1");
  for (const auto& path : databases) {
    auto& database = *spec.add_databases();
    database.set_catalog(std::filesystem::path(path).stem());
    database.set_path(path);
  }
  for (const auto& base : trees) spec.add_files()->set_base(base);
  return spec;
}

TEST(host_copy_layout, mirrors_the_primarys_paths) {
  v1::ServerSpec spec = spec_with({"/var/lib/pbx/main.db"}, {});
  const copy_layout layout("/var/lib/understudy", spec);
  EXPECT_EQ(layout.directory(), "/var/lib/understudy/servers/p1");
  EXPECT_EQ(layout.place_of("/var/lib/pbx/main.db"),
            "/var/lib/understudy/servers/p1/root/var/lib/pbx/main.db");
  spec.set_local_dir("/srv/copy");
  EXPECT_EQ(copy_layout("/var/lib/understudy", spec).directory(), "/srv/copy");
}

TEST(host_copy_layout, only_plain_absolute_paths) {
  for (const char* path : {"/a", "/a/b.db", "/a/..b", "/a/b..", "/a/...", "/a b/c"})
    EXPECT_TRUE(check_primary_path(path).ok()) << path;
  for (const char* path :
       {"", "a", "./a", "/", "/a/", "//a", "/a//b", "/a/.", "/./a", "/a/..", "/../a", "/a/../../etc/shadow"})
    EXPECT_TRUE(absl::IsInvalidArgument(check_primary_path(path))) << path;
  EXPECT_FALSE(check_primary_path(std::string_view("/a\0b", 4)).ok());
}

TEST(host_copy_layout, presents_whole_directories_and_no_directory_within_another) {
  EXPECT_THAT(presented_directories(spec_with({"/a/x.db", "/a/y.db"}, {"/a/files", "/b"})),
              ElementsAre("/a", "/b"));
  EXPECT_THAT(presented_directories(spec_with({"/a/b/x.db"}, {"/a/bc", "/a/b/c/d"})),
              ElementsAre("/a/b", "/a/bc"));
  EXPECT_THAT(presented_directories(spec_with({"/a/x.db"}, {"/a-b", "/a/c"})), ElementsAre("/a", "/a-b"))
      << "'-' sorts before '/'";
  EXPECT_TRUE(presented_directories(spec_with({}, {})).empty());
}

TEST(host_copy_layout, makes_its_directories_and_symlinks) {
  namespace fs = std::filesystem;
  const test::temporary_directory real;
  const v1::ServerSpec spec = spec_with({"/var/lib/pbx/main.db", "/other.db"}, {"/var/lib/pbx/vm"});
  const copy_layout layout(real.path(), spec);
  const std::string link = real.path() + "/servers/p1/db/p1_main.db";
  for (int twice = 0; twice < 2; ++twice) {
    ASSERT_TRUE(layout.prepare(os::posix_file_system(), spec).ok());
    EXPECT_TRUE(fs::is_directory(layout.place_of("/var/lib/pbx/vm")));
    EXPECT_TRUE(fs::is_directory(layout.set_aside()));
    EXPECT_TRUE(fs::is_directory(layout.run()));
    EXPECT_EQ(fs::read_symlink(link), "../root/var/lib/pbx/main.db");
  }
  std::ofstream(layout.place_of("/var/lib/pbx/main.db")) << "content";
  EXPECT_TRUE(fs::is_regular_file(link)) << "the symlink leads to the copy";

  // A symlink that leads elsewhere is made anew; what it led to stays.
  fs::remove(link);
  std::ofstream(real.path() + "/elsewhere") << "kept";
  fs::create_symlink(real.path() + "/elsewhere", link);
  ASSERT_TRUE(layout.prepare(os::posix_file_system(), spec).ok());
  EXPECT_EQ(fs::read_symlink(link), "../root/var/lib/pbx/main.db");
  EXPECT_TRUE(fs::exists(real.path() + "/elsewhere"));
}

}  // namespace
}  // namespace understudy::server
