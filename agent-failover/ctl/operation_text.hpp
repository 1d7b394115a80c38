#pragma once

#include <string>

#include "agent-failover/ctl/human_text.hpp"
#include "understudy/v1/operation.pb.h"

namespace understudy::ctl {

// "failback aklmatrix: reverse heal, 42 %, 1.2 GiB of 2.9 GiB, 80 MiB/s, 22 s left". What is not known is
// left out.
std::string progress_text(const v1::Operation& operation);

// What came of an ended operation, one line: its result, or that it is done, and how long it took.
std::string result_text(const v1::Operation& operation);

// "replicate from-live" and the like: the verb that begins such an operation.
std::string kind_text(v1::OperationKind kind);

}  // namespace understudy::ctl
