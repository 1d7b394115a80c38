#pragma once

#include <string>
#include <vector>

#include "agent-failover/ctl/status_view.hpp"
#include "google/protobuf/struct.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

// How a look at one thing ended.
enum class verdict {
  ok,       // as it should be
  warning,  // works, and should be looked at
  failed    // does not work
};

// One thing that the doctor looked at.
struct finding {
  std::string section;  // "failover host", "server aklmatrix", "this machine"
  std::string check;
  verdict result = verdict::ok;
  std::string detail;
  std::string hint;  // what to do; empty when ok
};

// What a status says about the host and each server, without asking anything more. Pure.
std::vector<finding> findings_of(const v1::GetStatusResponse& status);

// What a server's test found. Pure.
std::vector<finding> findings_of(const std::string& server, const v1::TestServerResponse& test);

// Whether host, agents and this program fit together. Pure.
std::vector<finding> findings_of(const v1::GetVersionResponse& versions, const std::string& own_version);

// Whether this machine can become a failover host: kernel, clock, ports, raw sockets, watches. Reads and
// binds for a moment, changes nothing.
std::vector<finding> findings_before_install();

// Sections with a line per check and its hint below.
std::string doctor_view(const std::vector<finding>& findings, const view& how);

// {"checks": [{section, check, result, detail, hint}, ...]}.
google::protobuf::Struct doctor_document(const std::vector<finding>& findings);

}  // namespace understudy::ctl
