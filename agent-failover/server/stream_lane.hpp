#pragma once

// One copy and the stream that feeds it, whatever travels: start, stop, back-off, wait. What the copy is and
// what its stream reports belong to database_lane and file_lane.
//
// Threads: as replication.

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "understudy/v1/server.pb.h"

namespace grpc {
class Channel;
}

namespace understudy::server {

class stream_lane {
 public:
  // `server`, `name`: as an operator sees them. `on_change`: any thread; must only post onwards.
  stream_lane(std::string server, std::string name, std::function<void()> on_change)
      : server_(std::move(server)), name_(std::move(name)), on_change_(std::move(on_change)) {}
  // A lane stops its stream before its own members go.
  virtual ~stream_lane() = default;
  stream_lane(const stream_lane&) = delete;
  stream_lane& operator=(const stream_lane&) = delete;

  const std::string& name() const { return name_; }

  // The copy that is there, or room for one. Repeatable.
  virtual absl::Status open() = 0;
  // Before the stand-in may write to the copy.
  virtual absl::Status release() = 0;
  // Lets go of the copy, which is about to be moved away.
  virtual void close() = 0;
  virtual v1::CopyStatus status() const = 0;
  // In step once, so that a takeover has something to stand on.
  virtual bool complete() const = 0;

  // With a channel: starts unless it runs or the back-off after the last failure is not over. Without: stops.
  void keep(const std::shared_ptr<grpc::Channel>& channel);
  void stop();
  // Asks for the planned end; drained() is true once everything is durable.
  void drain();
  bool drained() const;
  bool running() const;
  // Why the last stream ended that nobody stopped.
  absl::Status last_end() const;

 protected:
  // A stream of either kind, as far as a lane has to do with it; destroying it stops it.
  struct line {
    virtual ~line() = default;
    virtual void drain() = 0;
    virtual void stop() = 0;
  };
  template <class Stream>
  static std::unique_ptr<line> line_of(std::unique_ptr<Stream> stream) {
    struct held final : line {
      explicit held(std::unique_ptr<Stream> s) : stream(std::move(s)) {}
      void drain() override { stream->drain(); }
      void stop() override { stream->stop(); }
      std::unique_ptr<Stream> stream;
    };
    return std::make_unique<held>(std::move(stream));
  }
  // How a report of the stream leaves the lane.
  struct standing {
    bool in_step = false;
    bool drained = false;
  };

  // Makes the copy ready to be fed.
  virtual absl::Status ready() { return open(); }
  // Opens the stream; its callbacks lead to reported() and ended().
  virtual std::unique_ptr<line> connect(const std::shared_ptr<grpc::Channel>& channel) = 0;
  // Under the mutex: a stream begins; what the last one reported is over.
  virtual void begun() = 0;
  // True: this end asks for the next stream at once.
  virtual bool at_once(const absl::Status&) const { return false; }

  // On stream threads. `take` stores what was reported, under the mutex.
  template <class Take>
  void reported(const Take& take) {
    {
      std::lock_guard lock(mutex_);
      const standing now = take();
      if (now.in_step) failures_ = 0;
      drained_ = now.drained;
    }
    on_change_();
  }
  void ended(const absl::Status& status);

  // Phase, reason and `behind` of a copy whose stream does not run. Under the mutex.
  void describe_idle(v1::CopyStatus& status, bool complete) const;
  static void set_behind(v1::CopyStatus& status, std::chrono::steady_clock::time_point since);
  static void set_behind(v1::CopyStatus& status, std::chrono::system_clock::time_point since);

  const std::string server_;
  const std::string name_;

  mutable std::mutex mutex_;  // guards what follows: written by stream threads, read by status
  bool running_ = false;
  bool drained_ = false;
  absl::Status last_end_;
  std::chrono::steady_clock::time_point not_in_step_since_ = std::chrono::steady_clock::now();

 private:
  void start(const std::shared_ptr<grpc::Channel>& channel);
  bool may_start(std::chrono::steady_clock::time_point now) const;
  void failed(const absl::Status& status);

  const std::function<void()> on_change_;
  std::unique_ptr<line> stream_;
  std::chrono::steady_clock::time_point failed_at_;  // under the mutex
  bool stopping_ = false;                            // under the mutex; what ends now has not failed
  int failures_ = 0;                                 // under the mutex; since it was last in step
};

}  // namespace understudy::server
