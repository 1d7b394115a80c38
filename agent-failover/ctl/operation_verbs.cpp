// operation list|show|wait|cancel

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <memory>

#include "agent-failover/ctl/action.hpp"
#include "agent-failover/ctl/operation_text.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

namespace {

std::string operations_view(const google::protobuf::RepeatedPtrField<v1::Operation>& operations,
                            const view& how) {
  text_table table{{"OPERATION", "SERVER", "KIND", "BEGUN", "STATE", "DETAIL", "BY"}};
  for (const auto& operation : operations) {
    const bool failed = operation.error().code() != 0;
    const std::string state = failed ? "FAILED" : operation.done() ? "DONE" : "RUNNING";
    auto detail = failed             ? operation.error().message()
                  : operation.done() ? operation.result()
                                     : operation.phase();
    const auto percent = percent_text(operation.bytes_done(), operation.bytes_total(), operation.done());
    if (!operation.done() && !percent.empty()) detail += ", " + percent;
    table.add_row({{operation.name()},
                   {operation.server()},
                   {kind_text(operation.kind())},
                   {ago_text(operation.started_at(), how.now)},
                   {state, failed             ? tint::bad
                           : operation.done() ? tint::good
                                              : tint::busy},
                   {detail},
                   {operation.actor()}});
  }
  return table.text(how.width, how.colored);
}

verb_result show_one(session& s, const v1::Operation& operation) {
  google::protobuf::RepeatedPtrField<v1::Operation> one;
  *one.Add() = operation;
  return show(s, operation, operations_view(one, view_of(s)));
}

template <class Request, class Response>
absl::StatusOr<v1::Operation> ask_operation(session& s, const std::string& name) {
  Request request;
  request.set_name(name);
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<Response>(request));
  return answer.operation();
}

}  // namespace

void add_operation_verbs(CLI::App& root, session& s) {
  auto* group = add_group(root, "operation", "long actions: copies, takeovers, failbacks");
  auto name = std::make_shared<std::string>();
  auto all = std::make_shared<bool>(false);

  auto* list = group->add_subcommand("list", "those that run");
  list->add_option("NAME", *name, "only this server");
  list->add_flag("-a,--all", *all, "also those that ended");
  on(list, s, [&s, name, all]() -> verb_result {
    v1::ListOperationsRequest request;
    request.set_server(*name);
    request.set_ended(*all);
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto answer, s.ask<v1::ListOperationsResponse>(request));
    return show(s, answer, operations_view(answer.operations(), view_of(s)));
  });

  auto* show_verb = group->add_subcommand("show", "one operation");
  show_verb->add_option("OPERATION", *name, "its name, for example failback-17")->required();
  on(show_verb, s, [&s, name]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto operation,
                                (ask_operation<v1::GetOperationRequest, v1::GetOperationResponse>(s, *name)));
    return show_one(s, operation);
  });

  auto* wait = group->add_subcommand("wait", "follow an operation to its end");
  wait->add_option("OPERATION", *name, "its name")->required();
  on(wait, s, [&s, name]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto operation,
                                (ask_operation<v1::GetOperationRequest, v1::GetOperationResponse>(s, *name)));
    return follow(s, std::move(operation), true);
  });

  auto* cancel = group->add_subcommand("cancel", "end an operation, where it can be undone");
  cancel->add_option("OPERATION", *name, "its name")->required();
  on(cancel, s, [&s, name]() -> verb_result {
    UNDERSTUDY_ASSIGN_OR_RETURN(
        const auto operation,
        (ask_operation<v1::CancelOperationRequest, v1::CancelOperationResponse>(s, *name)));
    return show_one(s, operation);
  });
}

}  // namespace understudy::ctl
