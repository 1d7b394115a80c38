#include "common/channel/grpc_keepalive.hpp"

#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

namespace understudy::channel {
namespace {

constexpr int PING_INTERVAL = 2000;       // ms between pings of an idle connection
constexpr int PING_TIMEOUT = 3000;        // ms without an answer: the peer is dead; 5 s at most in all
constexpr int SHORTEST_INTERVAL = 1000;   // ms: the other end may ping that often without being a nuisance
constexpr int LARGEST_MESSAGE = 4 << 20;  // bytes: four times the largest part

}  // namespace

void add_keepalive(grpc::ChannelArguments& arguments) {
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, PING_INTERVAL);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, PING_TIMEOUT);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(LARGEST_MESSAGE);
}

void add_keepalive(grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, PING_INTERVAL);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, PING_TIMEOUT);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, SHORTEST_INTERVAL);
  builder.SetMaxReceiveMessageSize(LARGEST_MESSAGE);
}

}  // namespace understudy::channel
