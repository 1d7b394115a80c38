#pragma once

#include <string>

namespace understudy::v1 {
class DescribeResponse;
class FileSelection;
class TestDatabaseResponse;
}  // namespace understudy::v1

namespace understudy::service {

struct agent_parts;
struct files_config;

// What is protected here. Reads the databases' headers and the kernel's addresses; never waits for a lock.
v1::DescribeResponse describe(const agent_parts& parts);
// Whether the database at this path can be read and captured, in words.
v1::TestDatabaseResponse test_database(const std::string& path);
v1::FileSelection selection_of(const agent_parts& parts, const files_config& files);

}  // namespace understudy::service
