#pragma once

// understudyctl as a program, at a failover host that says what a test tells it to.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "tests/contract/ctl_fake_supervisor.hpp"
#include "tests/contract/ctl_process.hpp"
#include "tests/support/temporary_directory.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::test {

using words = std::vector<std::string>;

struct outcome {
  int code;
  std::string out;
  std::string err;
};

inline bool is_json(const std::string& text) {
  google::protobuf::Value value;
  return google::protobuf::util::JsonStringToMessage(text, &value).ok();
}

inline v1::Operation running(const std::string& name) {
  v1::Operation operation;
  operation.set_name(name);
  operation.set_server("a");
  operation.set_kind(v1::OPERATION_KIND_FAILOVER);
  operation.set_phase("fence");
  return operation;
}

class ctl_program : public ::testing::Test {
 protected:
  words environment() const {
    return {"HOME=" + home_, "UNDERSTUDY_HOST=" + host_.address(), "TZ=UTC", "TERM=xterm",
            "PATH=/usr/bin:/bin"};
  }

  outcome run(const words& arguments, const std::string& input = "") const {
    ctl_process process{arguments, environment(), input};
    const int code = process.wait();
    return {code, process.out(), process.err()};
  }

  // `failover a` is answered with an operation that ends, with `error` if it is not 0.
  void script_failover(int error = 0) {
    host_.on("Failover", [](const std::string& bytes) {
      v1::FailoverRequest request;
      request.ParseFromString(bytes);
      v1::FailoverResponse response;
      response.set_effect("a is stopped and its stand-in starts here.");
      if (!request.dry_run()) *response.mutable_operation() = running("failover-1");
      return fake_supervisor::answer{{response.SerializeAsString()}, {}, false};
    });
    v1::WaitOperationResponse ended;
    *ended.mutable_operation() = running("failover-1");
    ended.mutable_operation()->set_done(true);
    ended.mutable_operation()->set_result("stands in for a");
    ended.mutable_operation()->mutable_error()->set_code(error);
    if (error != 0) ended.mutable_operation()->mutable_error()->set_message("no fence");
    host_.answers("WaitOperation", ended);
  }

  v1::GetStatusResponse status_of(v1::ServerStatus status) {
    v1::GetStatusResponse response;
    auto* state = response.add_servers();
    state->set_name("a");
    state->set_status(status);
    state->set_is_protected(true);
    response.mutable_host()->set_version("0.1.0");
    response.mutable_host()->set_initialized(true);
    return response;
  }

  fake_supervisor host_;
  temporary_directory directory_;
  const std::string home_ = directory_.path();
};

}  // namespace understudy::test
