#pragma once

// Finds what has to be sent: looks at what hints name, or at everything, and compares it with the index and,
// at the start of a stream, with the receiver's listing. Reads only names and metadata.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent-primary/files/dirty_set.hpp"
#include "agent-primary/files/planner.hpp"
#include "agent-primary/files/receiver_listing.hpp"
#include "agent-primary/files/tree_index.hpp"
#include "common/files/tree_walk.hpp"
#include "common/os/file_system.hpp"

namespace understudy::v1 {
class FileDirectories;
class FileDirectoriesQuestion;
}  // namespace understudy::v1

namespace understudy::files {

struct comparison_by_digests;
// What the receiver listed of one directory, by name.
struct listed_entry {
  entry what;
  std::optional<digest> below;
};
using listed_entries = std::map<std::string, listed_entry, std::less<>>;

struct operation {
  enum class kind {
    put,     // send the entry as it is then
    verify,  // compare its content with what was sent, or ask the receiver; `other`: attributes differ, too
    attributes,  // send mode, owner, times and extended attributes
    link,        // `path` becomes a further name of `other`
    remove,      // it has gone
    rename,      // `path` has become `other`; the index knows
  };
  kind what = kind::put;
  std::string path;
  std::string other;
};

// What a stream knows of the receiver at its start.
struct receiver_state {
  receiver_listing listing;
  bool by_digests = false;  // there is no listing: what differs is asked for, and the index is what is known
  bool has_files = false;   // the receiver has anything but directories
  comparison compared;      // what may be compared
  epoch_ns in_step_until = 0;  // the copy held everything that changed before
  // What an earlier stream to the same copy knew, and what of it was durable; may be null.
  std::unique_ptr<tree_index> previous;
  std::uint64_t previous_durable = 0;
};

class change_finder {
 public:
  ~change_finder();
  // All outlive it.
  change_finder(os::directory& root, const selection_matcher& matcher, tree_reader& reader,
                tree_index& index);

  // The next find() compares everything with this.
  void set_receiver(receiver_state state);

  struct result {
    std::deque<operation> operations;  // in the order to carry out
    std::vector<std::string> retry;    // could not be looked at: later
    std::vector<std::string> held;     // half of a rename whose other half is about to be told: in a moment
    std::string unavailable;           // not empty: part of the tree is not mounted; nothing was planned
  };
  // `first_sequence`: of the first rename in the result. Afterwards a comparison by digests may be under way.
  result find(const dirty_work& work, std::uint64_t first_sequence);

  // A comparison by digests: nothing else is found until the receiver has answered.
  bool is_comparing() const { return comparing_ != nullptr; }
  bool has_questions() const;
  bool has_all_answers() const;
  void ask(v1::FileDirectoriesQuestion& question);
  // kInvalidArgument: it answers no question.
  absl::Status take(const v1::FileDirectories& answer);
  // After all answers.
  result end_comparison();

 private:
  void look_at(const std::string& path, const hint& why);
  void look(observation&& found, bool scanned);
  void compare_with_listing(const entry& listed, const observation& found);
  // What an earlier stream to this copy made durable of a file.
  std::optional<index_record> known_before(const observation& found) const;
  void scan(const std::string& directory);
  // Reads everything, and takes it into the index as if the receiver had it.
  void begin_comparison();
  // What is in it is looked at by itself, whatever the digests say.
  void note_listed(const std::string& directory);
  void presume(observation&& found, bool has_memory);
  void compare_directory(const std::string& here, const listed_entries& listed);
  void ensure_parents(std::string_view path);
  void add(step s, observation&& found);
  void compare_hard_links();
  bool is_unmounted(const observation& found) const;
  // A file has the name of another one, of which no event told yet that it was renamed: it would be sent
  // although the receiver has it. Waited for, for a bounded time.
  bool is_half_of_a_rename(const observation& found);
  bool hold(const std::string& path);
  result finish();

  os::directory& root_;
  const selection_matcher& matcher_;
  tree_reader& reader_;
  tree_index& index_;

  std::optional<receiver_state> receiver_;
  struct linked {
    dev_t device;
    ino_t inode;
    std::string path;
    std::uint32_t group;  // in the listing
  };
  std::vector<linked> links_;

  // Of the find() under way.
  const dirty_work* work_ = nullptr;
  std::unique_ptr<comparison_by_digests> comparing_;
  std::string scanned_;  // the last directory that was scanned as a whole; its hints are done
  bool scanned_any_ = false;
  dev_t base_device_ = 0;
  std::map<std::string, operation> directories_;
  std::vector<operation> contents_, hard_links_, attributes_, removals_;
  std::map<std::string, operation> directory_attributes_;
  std::deque<operation> renames_;
  std::vector<std::string> retry_;
  std::vector<std::string> held_;
  std::map<std::string, int> holds_;  // how often, one after the other
  std::string unavailable_;
};

}  // namespace understudy::files
