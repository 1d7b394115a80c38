#include "agent-primary/service/database_restore.hpp"

#include <fmt/core.h>
#include <time.h>

#include <array>

#include "agent-failover/replica/database_clone.hpp"
#include "agent-failover/replica/database_copy.hpp"
#include "agent-primary/service/adoption_record.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/os/time_stamp.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/primary_agent.pb.h"

namespace understudy::service {
namespace {

adopted_image image_of(const channel::sink_state& state) {
  if (!state.exists) return {};
  return {true, state.page_size, state.database_pages, state.combined};
}

class restore final : public channel::database_restore {
 public:
  explicit restore(restore_place place)
      : place_(std::move(place)),
        directory_path_(place_.path.substr(0, std::max<std::size_t>(1, place_.path.rfind('/')))),
        name_(place_.path.substr(place_.path.rfind('/') + 1)),
        incoming_name_(name_ + ".understudy-incoming") {}

  absl::Status begin() {
    UNDERSTUDY_RETURN_IF_ERROR(place_.permitted());
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs_, place_.state_dir + "/restore"));
    UNDERSTUDY_ASSIGN_OR_RETURN(records_, fs_.open_root(place_.state_dir + "/restore"));
    UNDERSTUDY_ASSIGN_OR_RETURN(directory_, fs_.open_root(directory_path_));
    if (absl::IsNotFound(directory_->status(incoming_name_).status()) && directory_->status(name_).ok()) {
      // Cloned under another name first: a clone that was cut short must not pass for one.
      const std::string partial = incoming_name_ + "-partial";
      UNDERSTUDY_RETURN_IF_ERROR(
          clone(name_, *directory_, partial, fmt::format("cloning {} beside itself", name_)));
      UNDERSTUDY_RETURN_IF_ERROR(directory_->rename(partial, *directory_, incoming_name_));
      UNDERSTUDY_RETURN_IF_ERROR(directory_->sync());
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(incoming_, open_copy(incoming_name_));
    return absl::OkStatus();
  }

  channel::database_sink& sink() override { return *incoming_; }

  absl::StatusOr<v1::Adopted> adopt(const v1::AdoptImage& request) override {
    UNDERSTUDY_RETURN_IF_ERROR(place_.permitted());
    const adopted_image wanted = from_proto(request.image());
    if (!wanted.exists || image_of(incoming_->state()) != wanted) {
      return absl::DataLossError(fmt::format(
          "what arrived for {} is not the image that was to be adopted; send it again", place_.catalog));
    }
    // Folds a -wal into the database file and removes it, so that one rename replaces everything there is.
    UNDERSTUDY_ASSIGN_OR_RETURN(std::unique_ptr<replica::database_copy> present, open_copy(name_));
    const adopted_image found = image_of(present->state());
    if (found.exists) UNDERSTUDY_RETURN_IF_ERROR(present->prepare_for_stand_in());

    UNDERSTUDY_ASSIGN_OR_RETURN(const adoption_record plan, plan_for(wanted, found, request));
    UNDERSTUDY_RETURN_IF_ERROR(store_adoption(*records_, place_.catalog, plan));

    v1::Adopted answer;
    answer.set_diverged(plan.diverged);
    answer.set_set_aside(plan.set_aside);
    UNDERSTUDY_RETURN_IF_ERROR(incoming_->prepare_for_stand_in());
    if (plan.diverged && request.choice() == v1::DIVERGED_CHOICE_KEEP_PRIMARY) {
      UNDERSTUDY_RETURN_IF_ERROR(set_aside(incoming_name_, plan.set_aside));
      UNDERSTUDY_RETURN_IF_ERROR(remove_incoming());
      log::warning(place_.catalog, "the primary's data is kept; the stand-in's is in {}", plan.set_aside);
    } else {
      if (plan.diverged && found != wanted) {
        UNDERSTUDY_RETURN_IF_ERROR(set_aside(name_, plan.set_aside));
        log::warning(place_.catalog, "the stand-in's data is adopted; the primary's own is in {}",
                     plan.set_aside);
      }
      UNDERSTUDY_RETURN_IF_ERROR(like_present());
      UNDERSTUDY_RETURN_IF_ERROR(directory_->rename(incoming_name_, *directory_, name_));
      UNDERSTUDY_RETURN_IF_ERROR(remove_incoming());
      log::info(place_.catalog, "restored: {} pages", wanted.pages);
    }
    // The record stays: an adoption whose answer was lost is asked for again, and answered the same.
    return answer;
  }

 private:
  absl::StatusOr<std::unique_ptr<replica::database_copy>> open_copy(const std::string& name) {
    UNDERSTUDY_ASSIGN_OR_RETURN(std::unique_ptr<os::directory> held, fs_.open_root(directory_path_));
    return replica::database_copy::open(std::move(held), name);
  }

  absl::Status undecided() const {
    return rpc::with_help(rpc::with_reason(absl::FailedPreconditionError(fmt::format(
                                               "database {} on the primary holds commits that the copy never "
                                               "had; choose which side wins, the other is set aside",
                                               place_.catalog)),
                                           "DIVERGED", {{"catalog", place_.catalog}}),
                          "understudyctl failback NAME --discard-primary | --keep-primary", "choose");
  }

  static absl::Status remove_if_there(os::directory& directory, const std::string& name) {
    const absl::Status status = directory.remove_file(name);
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }

  // The adoption under way if this is it (one epoch: fenced all the time, so nobody wrote here meanwhile),
  // else a new one: has the present database anything of its own?
  absl::StatusOr<adoption_record> plan_for(const adopted_image& wanted, const adopted_image& found,
                                           const v1::AdoptImage& request) {
    absl::StatusOr<adoption_record> before = load_adoption(place_.state_dir, place_.catalog);
    if (!before.ok()) before = adoption_record{};
    if (before->epoch == place_.epoch && before->adopted == wanted) {
      if (before->diverged && request.choice() == v1::DIVERGED_CHOICE_UNSPECIFIED && found != wanted)
        return undecided();
      return before;
    }
    adoption_record plan;
    plan.epoch = place_.epoch;
    plan.adopted = wanted;
    plan.diverged =
        found.exists && found != from_proto(request.base()) && found != wanted && !before->knows(found);
    if (plan.diverged && request.choice() == v1::DIVERGED_CHOICE_UNSPECIFIED) return undecided();
    if (plan.diverged)
      plan.set_aside = fmt::format("{}/set-aside/{}/{}", place_.state_dir,
                                   os::time_stamp(std::chrono::system_clock::now()), place_.catalog);
    if (!plan.diverged) plan.replaced = found;
    // What an adoption that was given up had set aside is still the present one.
    if (!before->set_aside.empty()) UNDERSTUDY_RETURN_IF_ERROR(unlink_present_in(before->set_aside));
    return plan;
  }

  absl::Status clone(const std::string& name, os::directory& to, const std::string& to_name,
                     const std::string& what) {
    UNDERSTUDY_RETURN_IF_ERROR(remove_if_there(to, to_name));
    UNDERSTUDY_RETURN_IF_ERROR(remove_if_there(to, to_name + "-clone"));
    return replica::clone_database(*directory_, name, to, to_name,
                                   [&](std::uint64_t done, std::uint64_t total) {
                                     return !place_.tell || place_.tell({what, done, total});
                                   });
  }

  // A second name where that is possible, so that nothing is copied: the present one goes with the rename
  // that replaces it. Across filesystems, or where links are forbidden, a copy.
  absl::Status set_aside(const std::string& name, const std::string& to) {
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs_, to));
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::unique_ptr<os::directory> target, fs_.open_root(to));
    if (target->status(name_).ok()) return absl::OkStatus();  // done before an interruption
    if (directory_->make_hard_link(name, *target, name_).ok()) return target->sync();
    const std::string partial = name_ + "-partial";
    UNDERSTUDY_RETURN_IF_ERROR(clone(name, *target, partial, fmt::format("copying {} to the side", name_)));
    UNDERSTUDY_RETURN_IF_ERROR(target->rename(partial, *target, name_));
    return target->sync();
  }

  absl::Status unlink_present_in(const std::string& kept) {
    const auto target = fs_.open_root(kept);
    if (!target.ok()) return absl::OkStatus();
    const auto there = (*target)->status(name_);
    const auto present = directory_->status(name_);
    if (!there.ok() || !present.ok() || there->st_ino != present->st_ino || there->st_dev != present->st_dev)
      return absl::OkStatus();
    return (*target)->remove_file(name_);
  }

  // The new database belongs to whom the old one belonged; without one, to whom its directory belongs.
  absl::Status like_present() {
    absl::StatusOr<struct ::stat> like = directory_->status(name_);
    const bool present = like.ok();
    struct ::stat parent {};
    if (!present && ::fstat(directory_->descriptor(), &parent) == 0) like = parent;
    UNDERSTUDY_RETURN_IF_ERROR(like.status());
    UNDERSTUDY_RETURN_IF_ERROR(directory_->set_owner(incoming_name_, like->st_uid, like->st_gid));
    return directory_->set_mode(incoming_name_, present ? like->st_mode & 07777 : 0640);
  }

  absl::Status remove_incoming() {
    for (const char* suffix : {"", "-wal", "-shm", "-journal", "-heal", "-unfinished"}) {
      UNDERSTUDY_RETURN_IF_ERROR(remove_if_there(*directory_, incoming_name_ + suffix));
    }
    return directory_->sync();
  }

  restore_place place_;
  std::string directory_path_;
  std::string name_;
  std::string incoming_name_;
  os::file_system& fs_ = os::posix_file_system();
  std::unique_ptr<os::directory> directory_;
  std::unique_ptr<os::directory> records_;
  std::unique_ptr<replica::database_copy> incoming_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<channel::database_restore>> begin_restore(restore_place place) {
  auto result = std::make_unique<restore>(std::move(place));
  UNDERSTUDY_RETURN_IF_ERROR(result->begin());
  return result;
}

}  // namespace understudy::service
