// The files of a failback under power cuts: at every point the tree is as it was, or the adoption is finished
// by the next start and the tree is what arrived.

#include <gtest/gtest.h>

#include "agent-failover/replica/tree/incoming_tree.hpp"
#include "common/files/digest.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/files_pair.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

files::tree_sink_options options_in(const std::string& directory) {
  return {.tree = directory + "/tree",
          .beside = directory,
          .name = "files-0",
          .what = everything_in("/base"),
          .trash = {}};
}

void write(const std::string& path, const std::string& content) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

std::vector<v1::FileChange> changes() {
  std::vector<v1::FileChange> all;
  const auto put = [&](const std::string& path, v1::FileKind kind, const std::string& content) {
    v1::FilePut& made = *all.emplace_back().mutable_put();
    made.mutable_entry()->set_path(path);
    made.mutable_entry()->set_kind(kind);
    made.mutable_entry()->set_mode(kind == v1::FILE_KIND_DIRECTORY ? 0750 : 0640);
    if (kind == v1::FILE_KIND_SYMLINK) made.mutable_entry()->set_symlink_target(content);
    if (kind != v1::FILE_KIND_REGULAR) return;
    made.mutable_entry()->set_size(content.size());
    made.set_content(content);
  };
  const auto rename = [&](const std::string& from, const std::string& to) {
    v1::FileRename& made = *all.emplace_back().mutable_rename();
    made.set_from(from);
    made.set_to(to);
  };
  put("replaced", v1::FILE_KIND_REGULAR, "new");
  put("own", v1::FILE_KIND_REGULAR, "theirs");
  put("made", v1::FILE_KIND_DIRECTORY, "");
  put("made/inside", v1::FILE_KIND_REGULAR, "inside");
  put("link", v1::FILE_KIND_SYMLINK, "made/inside");
  rename("swap a", "swap");
  rename("swap b", "swap a");
  rename("swap", "swap b");
  rename("d", "e");
  put("was a directory", v1::FILE_KIND_REGULAR, "file");
  all.emplace_back().mutable_remove()->set_path("removed");
  v1::FileLink& link = *all.emplace_back().mutable_link();
  link.set_path("second name");
  link.set_existing("replaced");
  return all;
}

// What the tree is to be, as one text.
std::string text_of(const std::string& tree) {
  std::map<std::string, tree_item> items;
  read_tree(tree, "", items);
  std::string text;
  for (const auto& [path, item] : items)
    text += path + "=" + (S_ISDIR(item.status.st_mode) ? "/" : item.content) +
            (item.status.st_nlink > 1 && S_ISREG(item.status.st_mode) ? "+" : "") + ";";
  return text;
}

TEST(files_adoption, is_whole_or_not_begun_wherever_the_power_is_cut) {
  const std::string before =
      "d=/;d/x=x;own=mine;removed=r;replaced=old;swap a=a;swap b=b;was a directory=/;was a directory/i=i;";
  const std::string after =
      "e=/;e/x=x;link=made/inside;made=/;made/inside=inside;own=theirs;replaced=new+;second name=new+;"
      "swap a=b;swap b=a;was a directory=file;";
  bool seen_before = false;
  bool seen_after = false;
  for (std::uint64_t point = 1;; ++point) {
    const auto real = directory_in_memory();
    const std::string tree = real->path() + "/tree";
    for (const auto& [path, content] : std::map<std::string, std::string>{{"replaced", "old"},
                                                                          {"own", "mine"},
                                                                          {"swap a", "a"},
                                                                          {"swap b", "b"},
                                                                          {"d/x", "x"},
                                                                          {"removed", "r"},
                                                                          {"was a directory/i", "i"}})
      write(tree + "/" + path, content);
    ASSERT_EQ(text_of(tree), before);
    // Everything but "own" is as the copy had it.
    files::frozen_base base;
    base.in_step_until = 1;
    std::map<std::string, tree_item> items;
    read_tree(tree, "", items);
    for (const auto& [path, item] : items) {
      if (path == "own" || !S_ISREG(item.status.st_mode)) continue;
      files::entry e = files::entry_of(item.status, files::entry_kind::regular);
      e.path = path;
      base.recent.emplace(path, e);
    }
    faulty_file_system faulty(real->path());
    auto incoming = files::incoming_tree::open(faulty, options_in(real->path()), 3, base);
    ASSERT_TRUE(incoming.ok()) << message_of(incoming.status());
    faulty.cut_power_at_operation(faulty.operations() + point);
    std::vector<v1::FileRefusal> refusals;
    const bool applied = (*incoming)->apply(changes(), refusals).ok();
    const bool adopted = applied && (*incoming)->adopt("epoch-3").ok();
    if (!faulty.power_is_cut()) {
      EXPECT_TRUE(refusals.empty()) << refusals[0].reason();
      ASSERT_TRUE(adopted);
      EXPECT_EQ(text_of(tree), after);
      break;
    }
    for (const unsynced policy : {unsynced::lost, unsynced::kept, unsynced::random, unsynced::torn}) {
      SCOPED_TRACE("operation " + std::to_string(point) + ", policy " +
                   std::to_string(static_cast<int>(policy)));
      const auto found = directory_in_memory();
      ASSERT_TRUE(faulty.materialise(found->path(), policy, point).ok());
      const files::tree_sink_options there = options_in(found->path());
      const absl::Status finished = files::finish_adoption(os::posix_file_system(), there);
      ASSERT_TRUE(finished.ok()) << message_of(finished);
      const std::string text = text_of(there.tree);
      seen_before = seen_before || text == before;
      seen_after = seen_after || text == after;
      ASSERT_TRUE(text == after || (!adopted && text == before)) << text;
      if (text == after) {
        std::ifstream own(found->path() + "/.understudy-set-aside/epoch-3/files-0/own");
        std::string content;
        std::getline(own, content);
        ASSERT_EQ(content, "mine");
      }
    }
  }
  EXPECT_TRUE(seen_before);
  EXPECT_TRUE(seen_after);
}

}  // namespace
}  // namespace understudy::test
