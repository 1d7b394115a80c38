#include "agent-primary/service/describe.hpp"

#include <fmt/core.h>

#include "agent-failover/network/adapters.hpp"
#include "agent-primary/application/application_proto.hpp"
#include "agent-primary/capture/describe.hpp"
#include "agent-primary/service/adoption_record.hpp"
#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/service/boot_moment.hpp"
#include "agent-primary/service/database_paths.hpp"
#include "agent-primary/service/right_proto.hpp"
#include "common/channel/wire.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/primary_agent.pb.h"

namespace understudy::service {
namespace {

std::string journal_mode_of(const capture::database_description& found) {
  switch (found.mode) {
    case capture::journal_mode::wal:
      return "wal";
    case capture::journal_mode::rollback:
      return "delete";
    case capture::journal_mode::unknown:
      return "";
  }
  return "";
}

v1::SourceStatus status_of(const channel::source_state& state) {
  v1::SourceStatus result;
  using phase = channel::source_state::phase;
  switch (state.now) {
    case phase::absent:
      result.set_phase(v1::SourceStatus::PHASE_ABSENT);
      break;
    case phase::scanning:
      result.set_phase(v1::SourceStatus::PHASE_SCANNING);
      break;
    case phase::refused:
      result.set_phase(v1::SourceStatus::PHASE_REFUSED);
      break;
    case phase::ready: {
      result.set_phase(v1::SourceStatus::PHASE_READY);
      v1::DatabaseImage* image = result.mutable_image();
      image->set_exists(true);
      image->set_page_size(state.page_size);
      image->set_pages(state.database_pages);
      channel::to_wire(state.combined, image->mutable_hash());
      break;
    }
  }
  result.set_reason(state.reason);
  result.set_scanned_bytes(state.scanned_bytes);
  result.set_total_bytes(state.total_bytes);
  return result;
}

void describe_one(const agent_parts& parts, const database_config& database, v1::DatabaseDescription& out) {
  out.set_catalog(database.catalog);
  out.set_path(database.path);
  out.set_found(database.found);
  for (const std::string& table : database.configuration_tables) out.add_configuration_tables(table);
  const capture::database_description found = capture::describe_database(database.path);
  out.set_journal_mode(journal_mode_of(found));
  out.set_size_bytes(found.file_bytes);
  *out.mutable_status() = status_of(parts.capture->add(database.path)->state());
  if (const auto record = load_adoption(parts.config.state_dir, database.catalog); record.ok()) {
    to_proto(record->adopted, out.add_adopted());
    if (record->replaced.exists) to_proto(record->replaced, out.add_adopted());
  }
  const capture::capture_metrics metrics = parts.capture->metrics(database.path);
  v1::CaptureCounters* counters = out.mutable_counters();
  counters->set_transactions(metrics.commits);
  counters->set_wal_resets(metrics.resets);
  counters->set_gaps(metrics.gaps);
  counters->set_pins(metrics.pins);
  counters->mutable_longest_pin()->set_seconds(metrics.longest_pin.count() / 1'000'000);
  counters->mutable_longest_pin()->set_nanos(
      static_cast<std::int32_t>(metrics.longest_pin.count() % 1'000'000 * 1000));
}

void describe_addresses(v1::DescribeResponse& out) {
  const absl::StatusOr<std::vector<network::adapter>> adapters = network::list_adapters();
  if (!adapters.ok()) {
    log::warning("", "the addresses of this machine could not be read: {}", message_of(adapters.status()));
    return;
  }
  for (const network::adapter& adapter : *adapters) {
    if (adapter.loopback) continue;
    for (const network::adapter_address& present : adapter.addresses) {
      v1::MachineAddress* address = out.add_addresses();
      address->set_adapter(adapter.name);
      // The scope names the adapter, which stands beside it and is not the reader's.
      network::ip_address plain = present.network.address;
      plain.scope = 0;
      address->set_address(network::to_string(plain));
      address->set_prefix_length(static_cast<std::uint32_t>(present.network.prefix_length));
      address->set_mac(network::to_string(adapter.mac));
    }
  }
}

}  // namespace

v1::FileSelection selection_of(const agent_parts& parts, const files_config& files) {
  v1::FileSelection result;
  result.set_base(files.base);
  for (const inclusion_config& row : files.include) {
    v1::FileInclusion* inclusion = result.add_include();
    inclusion->set_subdirectory(row.subdirectory);
    for (const std::string& type : row.types) inclusion->add_types(type);
    inclusion->set_recursive(row.recursive);
    inclusion->set_ignore_case(row.ignore_case);
  }
  for (std::string& path : never_as_files(parts.databases(), parts.config.databases))
    result.add_exclude_databases(std::move(path));
  return result;
}

v1::DescribeResponse describe(const agent_parts& parts) {
  v1::DescribeResponse result;
  result.set_name(parts.config.name);
  result.set_version(UNDERSTUDY_VERSION);
  result.set_boot_id(boot_id());
  for (const database_config& database : parts.databases())
    describe_one(parts, database, *result.add_databases());
  for (const std::string& problem : parts.database_problems()) result.add_not_protected(problem);
  for (const database_config& database : parts.config.databases) {
    if (!has_wildcard(database.path)) continue;
    v1::DatabasePattern& pattern = *result.add_database_patterns();
    pattern.set_catalog(database.catalog);
    pattern.set_path(database.path);
    for (const std::string& table : database.configuration_tables) pattern.add_configuration_tables(table);
  }
  for (const files_config& files : parts.config.files) *result.add_files() = selection_of(parts, files);
  const std::map<std::string, std::string> versions = parts.versions();
  for (const application::application_definition& definition : parts.applications->definitions()) {
    v1::ApplicationDescription* description = result.add_applications();
    *description = application::to_proto(definition);
    if (const auto version = versions.find(definition.name); version != versions.end()) {
      description->set_version(version->second);
    }
  }
  describe_addresses(result);
  *result.mutable_right() = to_proto(parts.right().right);
  channel::to_wire(std::chrono::system_clock::now(), result.mutable_now());
  return result;
}

v1::TestDatabaseResponse test_database(const std::string& path) {
  v1::TestDatabaseResponse result;
  const capture::database_description found = capture::describe_database(path);
  result.set_ok(found.can_be_captured);
  result.set_journal_mode(journal_mode_of(found));
  result.set_size_bytes(found.file_bytes);
  result.set_page_size(found.page_size);
  if (found.problem.empty()) {
    result.set_detail(fmt::format("{} can be captured: {} mode, {} pages of {} bytes", path,
                                  journal_mode_of(found), found.pages, found.page_size));
  } else {
    result.set_detail(found.remedy.empty() ? found.problem
                                           : fmt::format("{}. {}", found.problem, found.remedy));
  }
  return result;
}

}  // namespace understudy::service
