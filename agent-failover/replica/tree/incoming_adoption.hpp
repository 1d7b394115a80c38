#pragma once

// What a failback has collected (incoming_tree.hpp) takes its place in the present tree. In three phases,
// each recorded, each repeatable from what is found:
//   decided    adoption: what has diverged, and where it goes; from here on only forward
//   saved      present files that get other names have a second name beside the journal
//   carried out, path by path; then the whole directory of the journal is removed

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/copy_place.hpp"
#include "agent-failover/replica/tree/incoming_log.hpp"

namespace understudy::v1 {
class FileListing;
}

namespace understudy::files {

struct adopted_tree;

class incoming_adoption {
 public:
  // All outlive it. `where` holds the journal and the contents.
  incoming_adoption(copy_place& place, os::directory& where, std::string name, const incoming_items& items)
      : place_(place), where_(where), name_(std::move(name)), items_(items) {}

  static bool is_begun(os::file_system& fs, const tree_sink_options& options);
  static bool is_collected(os::file_system& fs, const tree_sink_options& options);
  // The last moment, by this machine's clock, at which an adoption wrote to the tree; 0: never.
  static epoch_ns adopted_until(copy_place& place, const std::string& name);

  // Durable on return. `diverged` goes to a directory of the name `aside`.
  absl::Status decide(const std::string& aside, const std::set<std::string, std::less<>>& diverged);
  absl::StatusOr<adopted_tree> carry_out();

 private:
  absl::Status read_decision();
  absl::Status save_present();
  absl::Status make_free();
  absl::Status put_in_place(adopted_tree& done);
  absl::Status put_content(const std::string& staged, const std::vector<const incoming_item*>& names);
  absl::Status set_directory_times();
  absl::Status finish(const adopted_tree& done);
  static v1::FileListing last_adoption(copy_place& place, const std::string& name);
  std::string aside_path() const;  // absolute
  // Takes away what is at `path`: to what is set aside, to the trash, or for good where it has another name.
  absl::Status take_away(std::string_view path, const struct ::stat& status);
  absl::Status keep_diverged(std::string_view path);
  absl::Status touch(std::string_view directory);
  std::string staged_name(const incoming_item& item) const;  // "": the content is at its place

  copy_place& place_;
  os::directory& where_;
  const std::string name_;
  const incoming_items& items_;
  std::string aside_;  // below place_.holder
  std::set<std::string, std::less<>> diverged_;
  std::map<std::string, std::size_t, std::less<>> saved_;  // present paths whose content gets another name
  std::unique_ptr<os::directory> aside_directory_;
  std::map<std::string, epoch_ns, std::less<>> touched_;
  std::uint64_t removed_ = 0;
};

}  // namespace understudy::files
