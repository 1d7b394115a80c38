#include "tests/support/host/fake_primary.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/service/adoption_record.hpp"
#include "agent-primary/service/database_restore.hpp"
#include "agent-primary/service/restore_turns.hpp"
#include "common/channel/database_service.hpp"
#include "common/channel/wire.hpp"
#include "common/rpc/rpc_server.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/wait.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"
#include "understudy/v1/verification.grpc.pb.h"

namespace understudy::test {

std::string run_sql(const std::string& database, const std::string& sql) {
  const std::string command =
      fmt::format("sqlite3 -cmd '.timeout 5000' '{}' \"{}\" </dev/null 2>&1", database, sql);
  FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return "popen failed";
  std::string text;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
  ::pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ',';
  }
  return text;
}

// Adopts, and loses the answer.
class forgetful_restore final : public channel::database_restore {
 public:
  forgetful_restore(std::unique_ptr<channel::database_restore> real, std::atomic<int>& to_lose)
      : real_(std::move(real)), to_lose_(to_lose) {}
  channel::database_sink& sink() override { return real_->sink(); }
  absl::StatusOr<v1::Adopted> adopt(const v1::AdoptImage& request) override {
    auto adopted = real_->adopt(request);
    if (!adopted.ok() || to_lose_ <= 0) return adopted;
    --to_lose_;
    return absl::UnavailableError("the answer was lost");
  }

 private:
  std::unique_ptr<channel::database_restore> real_;
  std::atomic<int>& to_lose_;
};

// Reads the database as the agent does, unless its disk fails.
class fake_verification final : public v1::DatabaseVerification::Service {
 public:
  explicit fake_verification(std::string database) : database_(std::move(database)) {}
  void read_by(capture::capture_engine& engine) { engine_ = &engine; }
  std::atomic<bool> unreadable = false;

  grpc::Status VerifyDatabase(grpc::ServerContext*, const v1::VerifyDatabaseRequest*,
                              v1::VerifyDatabaseResponse* response) override {
    if (unreadable) return {grpc::StatusCode::DATA_LOSS, "the disk does not give page 2"};
    const std::uint64_t before = engine_->metrics(database_).verify_rounds;
    engine_->verify(database_);
    const bool read = wait_until([&] { return engine_->metrics(database_).verify_rounds != before; },
                                 std::chrono::seconds(20));
    if (!read) return {grpc::StatusCode::DEADLINE_EXCEEDED, "not read in time"};
    response->set_pages_read(engine_->add(database_)->state().database_pages);
    return grpc::Status::OK;
  }

 private:
  const std::string database_;
  capture::capture_engine* engine_ = nullptr;
};

class fake_primary::implementation final : public v1::PrimaryAgent::Service {
 public:
  explicit implementation(std::string directory)
      : directory_(std::move(directory)),
        database_(directory_ + "/data/main.db"),
        running_file_(directory_ + "/runs") {
    std::filesystem::create_directories(directory_ + "/data");
    run_sql(database_, "pragma journal_mode=wal; create table t(x); insert into t values('primary')");
    std::ofstream(running_file_) << "1";
    engine_ = *capture::capture_engine::start({.real_time = false});
    source_ = engine_->add(database_);
    verification_.read_by(*engine_);
    listen("127.0.0.1:0");
  }

  void listen(const std::string& address) {
    rpc::server_options options;
    options.listen = address;
    options.services = {this, &verification_};
    auto server = rpc::rpc_server::start(options);
    if (!server.ok()) throw std::runtime_error(std::string(message_of(server.status())));
    server_ = *std::move(server);
    port_ = server_->port();
  }

  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest*,
                        v1::DescribeResponse* response) override {
    response->set_boot_id(boot_id());
    response->set_version(UNDERSTUDY_VERSION);
    auto& application = *response->add_applications();
    application.set_name("app");
    application.add_version_command("app");
    application.set_version(version());
    auto& pattern = *response->add_database_patterns();
    pattern.set_catalog("*");
    pattern.set_path(directory_ + "/data/*.db");
    auto& database = *response->add_databases();
    database.set_catalog("main");
    database.set_path(database_);
    if (const auto record = service::load_adoption(directory_ + "/state", "main"); record.ok()) {
      service::to_proto(record->adopted, database.add_adopted());
      if (record->replaced.exists) service::to_proto(record->replaced, database.add_adopted());
    }
    const channel::source_state state = source_->state();
    if (state.now == channel::source_state::phase::ready) {
      database.mutable_status()->set_phase(v1::SourceStatus::PHASE_READY);
      auto& image = *database.mutable_status()->mutable_image();
      image.set_exists(true);
      image.set_page_size(state.page_size);
      image.set_pages(state.database_pages);
      channel::to_wire(state.combined, image.mutable_hash());
    }
    return grpc::Status::OK;
  }

  grpc::Status HoldLease(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::HoldLeaseResponse, v1::HoldLeaseRequest>* call) override {
    v1::HoldLeaseRequest request;
    const int mine = ++lines_;
    while (call->Read(&request)) {
      if (mine <= deaf_up_to_) continue;
      v1::HoldLeaseResponse response = obey(request);
      if (!call->Write(response)) break;
    }
    return grpc::Status::OK;
  }

  // Adds up what one stream after the other says of itself.
  static std::function<void(const std::string&, const channel::database_progress&)> counted(
      std::atomic<std::uint64_t>& total, std::uint64_t channel::database_progress::*bytes) {
    return [&total, bytes, before = std::uint64_t{0}](const std::string&,
                                                      const channel::database_progress& progress) mutable {
      total += progress.*bytes - std::exchange(before, progress.*bytes);
    };
  }

  grpc::Status ReplicateDatabase(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest>* call) override {
    const channel::replicate_database_service service{
        .find =
            [this](const std::string& catalog) -> absl::StatusOr<std::shared_ptr<channel::database_source>> {
          if (catalog != "main") return absl::NotFoundError("no such database: " + catalog);
          return source_;
        },
        .on_progress = counted(sent_, &channel::database_progress::sent_bytes)};
    return channel::serve(service, *context, *call);
  }

  void set_unreadable(bool unreadable) { verification_.unreadable = unreadable; }

  grpc::Status RestoreDatabase(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>* call) override {
    const channel::restore_database_service service{
        .begin = [this, context](const v1::RestoreDatabaseRequest& first, const channel::work_listener& tell)
            -> absl::StatusOr<std::unique_ptr<channel::database_restore>> {
          UNDERSTUDY_ASSIGN_OR_RETURN(std::shared_ptr<void> turn,
                                      restores_.enter(
                                          first.catalog(), [context] { context->TryCancel(); },
                                          [&] {
                                            return tell({"waiting", 0, 0});
                                          }));
          UNDERSTUDY_ASSIGN_OR_RETURN(
              auto restore,
              service::begin_restore(
                  {.catalog = first.catalog(),
                   .path = first.catalog() == "main" ? database_ : first.path(),
                   .state_dir = directory_ + "/state",
                   .epoch = first.epoch(),
                   .permitted = [this, epoch = first.epoch()] { return restore_permitted(epoch); },
                   .tell = tell,
                   .turn = std::move(turn)}));
          return std::make_unique<forgetful_restore>(std::move(restore), answers_to_lose_);
        },
        .on_progress = counted(received_, &channel::database_progress::received_bytes)};
    return channel::serve(service, *context, *call);
  }

  v1::HoldLeaseResponse obey(const v1::HoldLeaseRequest& request) {
    std::lock_guard lock(mutex_);
    v1::HoldLeaseResponse response;
    response.set_nonce(request.nonce());
    const bool grants = request.has_grant();
    if (grants || request.has_fence()) {
      const std::uint64_t epoch = grants ? request.grant().epoch() : request.fence().epoch();
      // The rules of the agent's gate: nothing older, and a change of owner needs a greater epoch.
      const bool refused = epoch < epoch_ || (epoch == epoch_ && by_host_ == grants);
      orders_.push_back(fmt::format("{} {}{}", grants ? "grant" : "fence", epoch, refused ? " refused" : ""));
      if (refused) {
        response.set_error(fmt::format("epoch {} is not greater than {}", epoch, epoch_));
      } else {
        backwards_ |= epoch < epoch_;
        epoch_ = epoch;
        by_host_ = !grants;
        if (!grants) std::filesystem::remove(running_file_);
        if (grants && request.grant().start_applications()) std::ofstream(running_file_) << "1";
      }
    }
    response.mutable_right()->set_epoch(epoch_);
    response.mutable_right()->set_owner(by_host_ ? v1::RIGHT_OWNER_FAILOVER_HOST : v1::RIGHT_OWNER_PRIMARY);
    response.set_boot_id(boot_id_);
    response.set_version(UNDERSTUDY_VERSION);
    auto& application = *response.add_applications();
    application.set_name("app");
    application.set_state(std::filesystem::exists(running_file_) ? v1::APPLICATION_STATE_RUNNING
                                                                 : v1::APPLICATION_STATE_STOPPED);
    return response;
  }

  std::string boot_id() const {
    std::lock_guard lock(mutex_);
    return boot_id_;
  }

  std::string version() const {
    std::lock_guard lock(mutex_);
    return version_;
  }

  absl::Status restore_permitted(std::uint64_t epoch) {
    std::lock_guard lock(mutex_);
    if (by_host_ && epoch == epoch_) return absl::OkStatus();
    return absl::FailedPreconditionError("not fenced under this epoch");
  }

  const std::string directory_;
  service::restore_turns restores_;
  const std::string database_;
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> received_{0};
  fake_verification verification_{database_};
  const std::string running_file_;
  std::unique_ptr<capture::capture_engine> engine_;
  std::shared_ptr<channel::database_source> source_;
  std::atomic<int> lines_{0};
  std::atomic<int> deaf_up_to_{0};
  std::atomic<int> answers_to_lose_{0};
  mutable std::mutex mutex_;
  std::string boot_id_ = "boot";
  std::string version_ = "app 1";
  std::uint64_t epoch_ = 1;
  bool by_host_ = false;
  bool backwards_ = false;
  std::vector<std::string> orders_;
  int port_ = 0;
  std::unique_ptr<rpc::rpc_server> server_;
};

fake_primary::fake_primary(std::string directory)
    : implementation_(std::make_unique<implementation>(std::move(directory))) {}

fake_primary::~fake_primary() {
  set_reachable(false);
}

int fake_primary::port() const {
  return implementation_->port_;
}
std::uint64_t fake_primary::sent_bytes() const {
  return implementation_->sent_;
}

std::uint64_t fake_primary::received_bytes() const {
  return implementation_->received_;
}

const std::string& fake_primary::database() const {
  return implementation_->database_;
}
const std::string& fake_primary::running_file() const {
  return implementation_->running_file_;
}
bool fake_primary::application_runs() const {
  return std::filesystem::exists(implementation_->running_file_);
}
std::uint64_t fake_primary::epoch() const {
  std::lock_guard lock(implementation_->mutex_);
  return implementation_->epoch_;
}
bool fake_primary::owned_by_host() const {
  std::lock_guard lock(implementation_->mutex_);
  return implementation_->by_host_;
}

void fake_primary::set_unreadable(bool unreadable) {
  implementation_->set_unreadable(unreadable);
}

void fake_primary::set_boot_id(std::string boot_id) {
  std::lock_guard lock(implementation_->mutex_);
  implementation_->boot_id_ = std::move(boot_id);
}
void fake_primary::set_version(std::string version) {
  std::lock_guard lock(implementation_->mutex_);
  implementation_->version_ = std::move(version);
}
void fake_primary::deafen_line() {
  implementation_->deaf_up_to_ = implementation_->lines_.load();
}
void fake_primary::lose_adoption_answers(int count) {
  implementation_->answers_to_lose_ = count;
}

void fake_primary::die() {
  set_reachable(false);
  std::filesystem::remove(implementation_->running_file_);
}

void fake_primary::set_reachable(bool reachable) {
  auto& server = implementation_->server_;
  if (!reachable && server) {
    server->shutdown(std::chrono::milliseconds{0});
    server.reset();
  }
  if (reachable && !server) implementation_->listen(fmt::format("127.0.0.1:{}", implementation_->port_));
}

std::vector<std::string> fake_primary::orders() const {
  std::lock_guard lock(implementation_->mutex_);
  return implementation_->orders_;
}

bool fake_primary::went_backwards() const {
  std::lock_guard lock(implementation_->mutex_);
  return implementation_->backwards_;
}

}  // namespace understudy::test
