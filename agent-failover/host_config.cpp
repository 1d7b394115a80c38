#include "agent-failover/host_config.hpp"

#include <unistd.h>

#include "common/config/toml_document.hpp"
#include "common/rpc/listen_address.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy {

absl::StatusOr<host_config> read_host_config(const std::string& file) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto document, config::toml_document::read(file));
  host_config read;
  char host_name[256] = {};
  ::gethostname(host_name, sizeof host_name - 1);
  config::toml_table root = document.root();
  read.data_dir = root.path("data_dir", read.data_dir);
  read.name = root.text("name", host_name);
  config::toml_table grpc = root.table("grpc");
  read.grpc_listen = grpc.text("listen", read.grpc_listen);
  read.grpc_advertise = grpc.text("advertise");
  config::toml_table http = root.table("http");
  read.http_listen = http.text("listen");
  if (!read.http_listen.empty()) {
    if (const auto address = rpc::parse_listen_address(read.http_listen); !address.ok())
      http.problem("listen", std::string(message_of(address.status())));
  }
  config::toml_table security = root.table("security");
  read.insecure = security.flag("insecure", read.insecure);
  read.tls.certificate = security.path("certificate");
  read.tls.key = security.path("key");
  read.tls.ca = security.path("ca");
  UNDERSTUDY_RETURN_IF_ERROR(document.finish());
  return read;
}

}  // namespace understudy
