#include "agent-primary/service/verification_service.hpp"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "agent-primary/service/agent_parts.hpp"

namespace understudy::service {
namespace {

// Between two looks at a reading of seconds to hours, which the capture begins at its next safety poll.
constexpr std::chrono::milliseconds look_every{50};

}  // namespace

grpc::Status verification_service::VerifyDatabase(grpc::ServerContext* context,
                                                  const v1::VerifyDatabaseRequest* request,
                                                  v1::VerifyDatabaseResponse* response) {
  const std::vector<database_config> all = parts_.databases();
  const auto database = std::find_if(
      all.begin(), all.end(), [&](const database_config& d) { return d.catalog == request->catalog(); });
  if (database == all.end())
    return {grpc::StatusCode::NOT_FOUND, "there is no database with this catalog here"};
  const std::string& path = database->path;
  const capture::capture_metrics before = parts_.capture->metrics(path);
  parts_.capture->verify(path);
  for (;;) {
    const capture::capture_metrics now = parts_.capture->metrics(path);
    if (now.verify_rounds != before.verify_rounds) {
      // In rollback-journal mode each comparison is of the whole file, and not counted page by page.
      const std::uint64_t counted = now.verified_pages - before.verified_pages;
      response->set_pages_read(counted > 0 ? counted : parts_.capture->add(path)->state().database_pages);
      response->set_pages_different(now.damaged_pages);
      return grpc::Status::OK;
    }
    const channel::source_state source = parts_.capture->add(path)->state();
    if (source.now == channel::source_state::phase::absent)
      return {grpc::StatusCode::NOT_FOUND, "there is no such database file now"};
    if (source.now == channel::source_state::phase::refused)
      return {grpc::StatusCode::FAILED_PRECONDITION, source.reason};
    if (context->IsCancelled() || std::chrono::system_clock::now() >= context->deadline())
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "the database was not read to its end in time"};
    if (!parts_.serving()) return {grpc::StatusCode::UNAVAILABLE, "the agent is starting or stopping"};
    std::this_thread::sleep_for(look_every);
  }
}

}  // namespace understudy::service
