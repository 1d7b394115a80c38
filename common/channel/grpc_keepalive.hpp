#pragma once

// How soon a silent connection counts as dead, the same on every channel and server of ours.

namespace grpc {
class ChannelArguments;
class ServerBuilder;
}  // namespace grpc

namespace understudy::channel {

void add_keepalive(grpc::ChannelArguments& arguments);
void add_keepalive(grpc::ServerBuilder& builder);

}  // namespace understudy::channel
