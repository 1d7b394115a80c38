#pragma once

#include <optional>
#include <string>

namespace understudy::ctl {

// "0.1.0".
std::string program_version();

// "understudyctl 0.1.0 (66205e7abcde)"; without the commit when it was built from an archive.
std::string version_line();

// Whether two versions can work together: the same, one minor apart (a warning), or more (refused).
enum class version_match { same, near, refused };

// nullopt when one of them is not MAJOR.MINOR[.PATCH...].
std::optional<version_match> compare_versions(const std::string& one, const std::string& other);

}  // namespace understudy::ctl
