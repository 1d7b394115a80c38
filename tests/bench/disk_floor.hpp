#pragma once

// What the disk itself takes, in the same run and directory: nothing durable can be faster.

#include <string>

#include "tests/bench/samples.hpp"

namespace understudy::bench {

// Milliseconds of `count` appends of 12 KiB, each with its fdatasync, begun 10 ms apart. `growing`: to a file
// that grows, so that every sync also writes the filesystem's journal; else within one that was written
// before, as a -wal is after its first reset.
void measure_appends(const std::string& directory, int count, bool growing, samples& into);

// Milliseconds of `count` new files of 4 KiB, each written to a temporary name, synced, renamed, and its
// directory synced, begun 10 ms apart.
void measure_new_files(const std::string& directory, int count, samples& into);

}  // namespace understudy::bench
