#include "agent-primary/service/database_restore.hpp"

#include <fmt/core.h>
#include <time.h>

#include <array>
#include <fstream>
#include <optional>
#include <sstream>

#include "agent-failover/replica/database_clone.hpp"
#include "agent-failover/replica/database_copy.hpp"
#include "common/channel/wire.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/primary_agent.pb.h"

namespace understudy::service {
namespace {

struct image {
  bool exists = false;
  std::uint32_t page_size = 0;
  std::uint32_t pages = 0;
  sqlite::page_hash hash;
  friend bool operator==(const image&, const image&) = default;
};

image image_of(const channel::sink_state& state) {
  if (!state.exists) return {};
  return {true, state.page_size, state.database_pages, state.combined};
}
image image_of(const v1::DatabaseImage& wire) {
  if (!wire.exists()) return {};
  return {true, wire.page_size(), wire.pages(), channel::from_wire(wire.hash())};
}

// Which adoption is under way.
struct journal {
  image adopted;
  bool diverged = false;
  std::string set_aside;  // directory; empty: nothing is set aside
};

std::string time_stamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return text.data();
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
    UNDERSTUDY_ASSIGN_OR_RETURN(journals_, fs_.open_root(place_.state_dir + "/restore"));
    UNDERSTUDY_ASSIGN_OR_RETURN(directory_, fs_.open_root(directory_path_));
    if (absl::IsNotFound(directory_->status(incoming_name_).status()) && directory_->status(name_).ok()) {
      // Cloned under another name first: a clone that was cut short must not pass for one.
      const std::string partial = incoming_name_ + "-partial";
      UNDERSTUDY_RETURN_IF_ERROR(remove_if_there(*directory_, partial));
      UNDERSTUDY_RETURN_IF_ERROR(replica::clone_database(*directory_, name_, *directory_, partial));
      UNDERSTUDY_RETURN_IF_ERROR(directory_->rename(partial, *directory_, incoming_name_));
      UNDERSTUDY_RETURN_IF_ERROR(directory_->sync());
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(incoming_, open_copy(incoming_name_));
    return absl::OkStatus();
  }

  channel::database_sink& sink() override { return *incoming_; }

  absl::StatusOr<v1::Adopted> adopt(const v1::AdoptImage& request) override {
    UNDERSTUDY_RETURN_IF_ERROR(place_.permitted());
    const image wanted = image_of(request.image());
    if (!wanted.exists || image_of(incoming_->state()) != wanted) {
      return absl::DataLossError(fmt::format(
          "what arrived for {} is not the image that was to be adopted; send it again", place_.catalog));
    }
    // Folds a -wal into the database file and removes it, so that one rename replaces everything there is.
    UNDERSTUDY_ASSIGN_OR_RETURN(std::unique_ptr<replica::database_copy> present, open_copy(name_));
    const image found = image_of(present->state());
    if (found.exists) UNDERSTUDY_RETURN_IF_ERROR(present->prepare_for_stand_in());

    absl::StatusOr<journal> recorded = read_journal();
    journal plan;
    if (recorded.ok() && recorded->adopted == wanted) {
      plan = *recorded;
    } else {
      plan.adopted = wanted;
      plan.diverged = found.exists && found != image_of(request.base()) && found != wanted;
      if (plan.diverged)
        plan.set_aside = fmt::format("{}/set-aside/{}/{}", place_.state_dir, time_stamp(), place_.catalog);
    }
    if (plan.diverged && request.choice() == v1::DIVERGED_CHOICE_UNSPECIFIED) return undecided();
    UNDERSTUDY_RETURN_IF_ERROR(write_journal(plan));

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
    // The journal stays: an adoption whose answer was lost is asked for again, and answered the same.
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

  absl::Status set_aside(const std::string& name, const std::string& to) {
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs_, to));
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::unique_ptr<os::directory> target, fs_.open_root(to));
    if (target->status(name_).ok()) return absl::OkStatus();  // done before an interruption
    const std::string partial = name_ + "-partial";
    UNDERSTUDY_RETURN_IF_ERROR(remove_if_there(*target, partial));
    UNDERSTUDY_RETURN_IF_ERROR(replica::clone_database(*directory_, name, *target, partial));
    UNDERSTUDY_RETURN_IF_ERROR(target->rename(partial, *target, name_));
    return target->sync();
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
    for (const char* suffix : {"", "-wal", "-shm", "-journal", "-heal"}) {
      UNDERSTUDY_RETURN_IF_ERROR(remove_if_there(*directory_, incoming_name_ + suffix));
    }
    return directory_->sync();
  }

  absl::Status write_journal(const journal& plan) {
    return os::replace_file(
        *journals_, place_.catalog,
        fmt::format("{} {} {} {} {}\n{}\n", plan.adopted.page_size, plan.adopted.pages,
                    plan.adopted.hash.high, plan.adopted.hash.low, plan.diverged ? 1 : 0, plan.set_aside));
  }

  absl::StatusOr<journal> read_journal() const {
    std::ifstream file(place_.state_dir + "/restore/" + place_.catalog);
    journal plan;
    plan.adopted.exists = true;
    int diverged = 0;
    std::string line;
    if (!std::getline(file, line)) return absl::NotFoundError("no adoption was begun");
    if (!(std::istringstream(line) >> plan.adopted.page_size >> plan.adopted.pages >>
          plan.adopted.hash.high >> plan.adopted.hash.low >> diverged)) {
      return absl::DataLossError("the journal of the restore is damaged");
    }
    plan.diverged = diverged != 0;
    std::getline(file, plan.set_aside);
    return plan;
  }

  restore_place place_;
  std::string directory_path_;
  std::string name_;
  std::string incoming_name_;
  os::file_system& fs_ = os::posix_file_system();
  std::unique_ptr<os::directory> directory_;
  std::unique_ptr<os::directory> journals_;
  std::unique_ptr<replica::database_copy> incoming_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<channel::database_restore>> begin_restore(restore_place place) {
  auto result = std::make_unique<restore>(std::move(place));
  UNDERSTUDY_RETURN_IF_ERROR(result->begin());
  return result;
}

}  // namespace understudy::service
