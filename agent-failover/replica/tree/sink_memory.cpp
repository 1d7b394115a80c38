#include "agent-failover/replica/tree/sink_memory.hpp"

#include <random>
#include <vector>

#include "common/files/entry_message.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t largest_memory = 4096;  // bytes; ours has about a hundred

}  // namespace

sink_memory new_memory() {
  sink_memory memory;
  std::random_device random;
  for (int i = 0; i < 16; ++i) memory.copy.push_back(static_cast<char>(random()));
  return memory;
}

sink_memory load_memory(os::directory& d, std::string_view file) {
  auto opened = d.open(file, os::open_mode::read);
  if (!opened.ok()) return new_memory();
  std::string bytes(largest_memory, '\0');
  const auto length = (*opened)->read_at(std::as_writable_bytes(std::span(bytes.data(), bytes.size())), 0);
  if (!length.ok()) return new_memory();
  bytes.resize(*length);
  // The last part of a listing holds exactly what is remembered.
  v1::FileListing stored;
  if (!stored.ParseFromString(bytes) || stored.copy().size() != 16) return new_memory();
  return {.copy = stored.copy(),
          .in_step_until = from_message(stored.memory().in_step_until()),
          .root = stored.memory().root()};
}

absl::Status store_memory(os::directory& d, std::string_view file, const sink_memory& memory) {
  v1::FileListing stored;
  stored.set_copy(memory.copy);
  to_message(memory.in_step_until, *stored.mutable_memory()->mutable_in_step_until());
  stored.mutable_memory()->set_root(memory.root);
  return os::replace_file(d, file, stored.SerializeAsString());
}

}  // namespace understudy::files
