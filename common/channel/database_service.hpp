#pragma once

// Database streams over gRPC: the server's side, in the agent. A handler of the synchronous API hands its
// call over and returns what comes back; the call's thread works until the stream ends (one more thread
// reads). Cancelling the call or shutting the server down ends it within milliseconds.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/channel/database_progress.hpp"
#include "common/channel/database_sink.hpp"
#include "common/channel/database_source.hpp"
#include "common/channel/restore_work.hpp"

namespace grpc {
class Status;
class ServerContext;
template <class W, class R>
class ServerReaderWriter;
}  // namespace grpc

namespace understudy::v1 {
class AdoptImage;
class Adopted;
class ReplicateDatabaseRequest;
class ReplicateDatabaseResponse;
class RestoreDatabaseRequest;
class RestoreDatabaseResponse;
}  // namespace understudy::v1

namespace understudy::channel {

struct replicate_database_service {
  // The source of a catalog; kNotFound for a name that the configuration does not have. Called on call
  // threads.
  std::function<absl::StatusOr<std::shared_ptr<database_source>>(const std::string& catalog)> find;
  // May be empty.
  std::function<void(const std::string& catalog, const database_progress&)> on_progress;
};

// One restore under way. Used by one thread at a time.
class database_restore {
 public:
  virtual ~database_restore() = default;
  // The image beside the present database.
  virtual database_sink& sink() = 0;
  // Puts it in place; only after the image was drained, and durable. The sink is not used any more.
  virtual absl::StatusOr<v1::Adopted> adopt(const v1::AdoptImage& request) = 0;
};

struct restore_database_service {
  // Begins a restore, or says why it may not be (not fenced, an older epoch, unknown catalog). Called on call
  // threads. The restore is destroyed when the stream ends, and `tell` with it; the caller hears what it was
  // told last once a second, while begin() or adopt() works.
  std::function<absl::StatusOr<std::unique_ptr<database_restore>>(const v1::RestoreDatabaseRequest& first,
                                                                  const work_listener& tell)>
      begin;
  // May be empty.
  std::function<void(const std::string& catalog, const database_progress&)> on_progress;
};

grpc::Status serve(
    const replicate_database_service& service, grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest>& call);

grpc::Status serve(const restore_database_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>& call);

}  // namespace understudy::channel
