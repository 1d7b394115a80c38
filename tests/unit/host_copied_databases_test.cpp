#include "agent-failover/server/copied_databases.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/store/state_store.hpp"
#include "common/os/file_system.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct host_copied_databases : testing::Test {
  host_copied_databases() {
    spec.set_name("p1");
    add("one");
    EXPECT_TRUE(layout().prepare(os::posix_file_system(), spec).ok());
  }
  void add(const std::string& catalog) {
    spec.add_databases()->set_catalog(catalog);
    spec.mutable_databases(spec.databases_size() - 1)->set_path("/" + catalog + ".db");
  }
  copy_layout layout() const { return {real.path(), spec}; }
  void copy(const std::string& catalog) {
    std::ofstream(layout().place_of("/" + catalog + ".db")) << "content";
  }
  missing_copies missing() const { return missing_copies_of(os::posix_file_system(), layout(), spec); }
  void note(const std::set<std::string>& catalogs) const {
    EXPECT_TRUE(note_copied(os::posix_file_system(), layout(), spec, catalogs).ok());
  }

  const test::temporary_directory real;
  v1::ServerSpec spec;
};

TEST_F(host_copied_databases, one_that_was_added_is_not_one_that_was_lost) {
  copy("one");
  note({"one"});
  EXPECT_THAT(missing().lost, IsEmpty());
  add("two");
  EXPECT_THAT(missing().lost, IsEmpty());
  EXPECT_THAT(missing().first, ElementsAre("two"));
  note({"one"});  // as at the next start
  EXPECT_THAT(missing().first, ElementsAre("two"));
  copy("two");
  note({"one", "two"});
  std::filesystem::remove(layout().place_of("/two.db"));
  EXPECT_THAT(missing().lost, ElementsAre("two"));
  note({"one"});
  EXPECT_THAT(missing().lost, ElementsAre("two")) << "a restart does not make it a new one";
}

TEST_F(host_copied_databases, without_a_record_every_one_was_there) {
  add("two");
  copy("one");
  EXPECT_THAT(missing().lost, ElementsAre("two"));
  note({"one"});
  EXPECT_THAT(missing().lost, ElementsAre("two"));
}

TEST_F(host_copied_databases, one_that_leaves_and_comes_again_is_new) {
  add("two");
  note({});
  spec.mutable_databases()->RemoveLast();
  note({"one"});
  add("two");
  EXPECT_THAT(missing().first, ElementsAre("two"));
}

// A stand-in of nothing but what has no copy would serve nothing.
TEST_F(host_copied_databases, without_any_other_nothing_is_protected) {
  copy("one");
  note({"one"});
  spec.clear_databases();
  add("two");
  add("tenant");
  spec.mutable_databases(1)->set_found(true);
  copy("tenant");
  EXPECT_THAT(missing().lost, ElementsAre("two"));
  EXPECT_THAT(missing().first, IsEmpty());
}

TEST_F(host_copied_databases, one_that_was_set_aside_is_not_missed) {
  copy("one");
  add("two");
  copy("two");
  note({"one", "two"});
  std::filesystem::remove(layout().place_of("/two.db"));
  EXPECT_TRUE(note_copied(os::posix_file_system(), layout(), spec, {}, {"two"}).ok());
  EXPECT_THAT(missing().first, ElementsAre("two"));
}

TEST_F(host_copied_databases, a_takeover_went_without_what_it_did_not_freeze) {
  add("two");
  add("tenant");
  spec.mutable_databases(2)->set_found(true);
  store::freeze_row one;
  one.catalog = "one";
  EXPECT_THAT(never_copied(spec, {one}), ElementsAre("two"));
}

}  // namespace
}  // namespace understudy::server
