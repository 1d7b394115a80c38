#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Leaves the enclosing function with the status of `expression` unless it is ok.
#define UNDERSTUDY_RETURN_IF_ERROR(expression)                                                               \
  do {                                                                                                       \
    if (absl::Status understudy_status_ = (expression); !understudy_status_.ok()) return understudy_status_; \
  } while (false)

#define UNDERSTUDY_CONCAT_INNER_(a, b) a##b
#define UNDERSTUDY_CONCAT_(a, b) UNDERSTUDY_CONCAT_INNER_(a, b)

// `lhs = *expression`, or leaves the enclosing function with its status.
#define UNDERSTUDY_ASSIGN_OR_RETURN(lhs, expression) \
  UNDERSTUDY_ASSIGN_OR_RETURN_(UNDERSTUDY_CONCAT_(understudy_or_, __LINE__), lhs, expression)
#define UNDERSTUDY_ASSIGN_OR_RETURN_(or_, lhs, expression) \
  auto or_ = (expression);                                 \
  if (!or_.ok()) return std::move(or_).status();           \
  lhs = std::move(or_).value()
