#pragma once

namespace understudy::ctl {

// From here on the first SIGINT or SIGTERM is noted and interrupts blocking reads; a second one ends the
// process.
void catch_interrupts();

// True once SIGINT or SIGTERM came.
bool interrupted();

}  // namespace understudy::ctl
