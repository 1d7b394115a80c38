#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agent-primary/application/application_definition.hpp"

namespace understudy::application {

// The drop-in with which a stand-in's unit finds the copy at the primary's own paths: BindPaths= and
// Environment=. Empty when the definition has neither.
std::string drop_in_text(const application_definition& definition);

// Writes UNIT.d/50-understudy.conf below `units`, or removes an old one when there is nothing to say. True:
// systemd must reload. The directory is systemd's runtime directory, so that a reboot forgets it.
absl::StatusOr<bool> write_drop_in(const std::string& units, const application_definition& definition);
// True: there was one.
bool remove_drop_in(const std::string& units, const application_definition& definition);

}  // namespace understudy::application
