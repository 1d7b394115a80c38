#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace grpc {
class Channel;
}

namespace understudy::bench {

// A real understudy-agent on loopback. `protects`: the [[database]] and [[files]] parts of its configuration;
// configuration, state and log lie in `directory`. Destruction ends it.
class agent_process {
 public:
  agent_process(const std::string& directory, const std::string& protects);
  ~agent_process();
  agent_process(const agent_process&) = delete;
  agent_process& operator=(const agent_process&) = delete;

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  pid_t pid() const { return pid_; }
  int port() const { return port_; }
  // Gives up the whole measurement when the log does not say it within a minute.
  void wait_for_log(const std::string& text) const;

  double resident_mib() const;       // VmRSS
  double peak_resident_mib() const;  // VmHWM
  // Descriptors that could write to a file whose path begins with `path`.
  int writable_descriptors(const std::string& path) const;

 private:
  std::string log_;
  pid_t pid_ = 0;
  int port_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace understudy::bench
