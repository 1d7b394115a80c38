// What a stand-in made of a database that had no copy is set aside at failback, and the host dies at every
// operation of that: the next attempt ends where an undisturbed one does.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "agent-failover/server/copied_databases.hpp"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/replication.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

using test::unsynced;
using testing::ElementsAre;
using testing::IsEmpty;

v1::ServerSpec spec_of(const std::string& place) {
  v1::ServerSpec spec;
  spec.set_name("p1");
  spec.set_local_dir(place);
  for (const char* catalog : {"first", "second"}) {
    auto& database = *spec.add_databases();
    database.set_catalog(catalog);
    database.set_path(fmt::format("/data/{}.db", catalog));
  }
  return spec;
}

absl::Status attempt(os::file_system& fs, const std::string& place) {
  const v1::ServerSpec spec = spec_of(place);
  const copy_layout layout("/unused", spec);
  replication copies(fs, layout, spec, [] {});
  return copies.set_aside({"second"}, "stand-in-3");
}

std::string content_of(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::uint64_t run(const std::function<void(test::faulty_file_system&)>& arm) {
  const test::temporary_directory real(test::where::memory);
  const v1::ServerSpec spec = spec_of(real.path());
  const copy_layout layout("/unused", spec);
  EXPECT_TRUE(layout.prepare(os::posix_file_system(), spec).ok());
  const std::string second = layout.place_of("/data/second.db");
  std::ofstream(layout.place_of("/data/first.db")) << "another";
  std::ofstream(second) << "database";
  std::ofstream(second + "-wal") << "log";
  std::ofstream(second + "-journal") << "journal";
  EXPECT_TRUE(note_copied(os::posix_file_system(), layout, spec, {"first", "second"}).ok());

  test::faulty_file_system fs(real.path());
  arm(fs);
  const absl::Status done = attempt(fs, real.path());
  EXPECT_TRUE(done.ok() || fs.power_is_cut()) << message_of(done);
  for (const auto policy : {unsynced::lost, unsynced::kept, unsynced::random}) {
    SCOPED_TRACE(fmt::format("policy {}", static_cast<int>(policy)));
    const test::temporary_directory image(test::where::memory);
    EXPECT_TRUE(fs.materialise(image.path(), policy, 1).ok());
    const absl::Status again = attempt(os::posix_file_system(), image.path());
    EXPECT_TRUE(again.ok()) << message_of(again);
    const v1::ServerSpec there = spec_of(image.path());
    const copy_layout after("/unused", there);
    const std::string aside = after.set_aside() + "/stand-in-3/second.db";
    EXPECT_EQ(content_of(aside), "database");
    EXPECT_EQ(content_of(aside + "-wal"), "log");
    EXPECT_EQ(content_of(aside + "-journal"), "journal");
    for (const char* suffix : {"", "-wal", "-journal"})
      EXPECT_FALSE(std::filesystem::exists(after.place_of("/data/second.db") + suffix)) << suffix;
    EXPECT_EQ(content_of(after.place_of("/data/first.db")), "another");
    const missing_copies missing = missing_copies_of(os::posix_file_system(), after, there);
    EXPECT_THAT(missing.first, ElementsAre("second"));
    EXPECT_THAT(missing.lost, IsEmpty());
  }
  return fs.operations();
}

TEST(set_aside_cut, ends_where_an_undisturbed_one_does) {
  const std::uint64_t last = run([](auto&) {});
  ASSERT_GT(last, 8u);
  for (std::uint64_t n = 1; n <= last; ++n) {
    SCOPED_TRACE(fmt::format("operation {} of {}", n, last));
    run([&](auto& fs) { fs.cut_power_at_operation(n); });
  }
}

}  // namespace
}  // namespace understudy::server
