// The calls of Supervisor about this host's settings.

#include <fmt/core.h>
#include <google/protobuf/util/field_mask_util.h>
#include <grpcpp/grpcpp.h>

#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "agent-failover/network/adapters.hpp"
#include "agent-failover/server/spec_check.hpp"

namespace understudy::api {

using google::protobuf::util::FieldMaskUtil;

grpc::Status supervisor_service::GetSettings(grpc::ServerContext*, const v1::GetSettingsRequest*,
                                             v1::GetSettingsResponse* response) {
  *response->mutable_settings() = control_.settings();
  if (response->settings().has_alerts()) response->mutable_settings()->mutable_alerts()->clear_password();
  return grpc::Status::OK;
}

grpc::Status supervisor_service::UpdateSettings(grpc::ServerContext*,
                                                const v1::UpdateSettingsRequest* request,
                                                v1::UpdateSettingsResponse* response) {
  v1::Settings settings = control_.settings();
  if (request->update_mask().paths().empty()) {
    const std::string password = settings.alerts().password();
    settings = request->settings();
    if (settings.has_alerts() && settings.alerts().password().empty()) {
      settings.mutable_alerts()->set_password(password);
    }
  } else {
    for (const auto& path : request->update_mask().paths()) {
      if (!FieldMaskUtil::IsValidPath<v1::Settings>(path)) {
        return rpc::to_grpc(
            rpc::with_field(absl::InvalidArgumentError(fmt::format("there is no setting \"{}\"", path)),
                            "update_mask", path));
      }
    }
    FieldMaskUtil::MergeOptions replace;
    replace.set_replace_message_fields(true);
    FieldMaskUtil::MergeMessageTo(request->settings(), request->update_mask(), replace, &settings);
  }
  auto wrong = server::check(settings);
  if (!settings.adapter().empty()) {
    if (auto adapter = network::find_adapter(settings.adapter()); !adapter.ok()) {
      wrong.push_back({"settings.adapter", adapter.status().ToString()});
    }
  }
  if (!wrong.empty()) {
    absl::Status status = server::to_status(wrong);
    for (const auto& v : wrong) status = rpc::with_field(status, v.field, v.description);
    return rpc::to_grpc(status);
  }
  for (auto& warning : server::ping_warnings(settings.ping())) response->add_warnings(std::move(warning));
  if (!request->dry_run()) {
    if (absl::Status stored = control_.update_settings(settings); !stored.ok()) return rpc::to_grpc(stored);
  }
  *response->mutable_settings() = std::move(settings);
  if (response->settings().has_alerts()) response->mutable_settings()->mutable_alerts()->clear_password();
  return grpc::Status::OK;
}

grpc::Status supervisor_service::ListAdapters(grpc::ServerContext*, const v1::ListAdaptersRequest*,
                                              v1::ListAdaptersResponse* response) {
  auto adapters = network::list_adapters();
  if (!adapters.ok()) return rpc::to_grpc(adapters.status());
  for (const auto& adapter : *adapters) {
    auto* added = response->add_adapters();
    added->set_name(adapter.name);
    added->set_description(adapter.description);
    added->set_mac(network::to_string(adapter.mac));
    added->set_carrier(adapter.carrier);
    for (const auto& held : adapter.addresses) {
      auto* address = added->add_addresses();
      address->set_adapter(adapter.name);
      address->set_address(network::to_string(held.network.address));
      address->set_prefix_length(static_cast<std::uint32_t>(held.network.prefix_length));
      address->set_mac(network::to_string(adapter.mac));
    }
  }
  return grpc::Status::OK;
}

}  // namespace understudy::api
