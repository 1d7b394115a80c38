#include "agent-primary/files/read_prefixes.hpp"

#include <utility>

namespace understudy::files {
namespace {

constexpr std::size_t most_kept = 64;        // about 1 KiB each
constexpr std::uint64_t smallest = 4 << 20;  // bytes; less is read in a millisecond or two
constexpr std::chrono::seconds longest_unproven{2};

}  // namespace

void read_prefixes::keep(content_reader& reader, bool proven) {
  const observation& seen = reader.seen();
  if (reader.position() != seen.what.size || seen.what.size < smallest) {
    kept_.erase(seen.what.path);
    return;
  }
  if (!kept_.contains(seen.what.path) && kept_.size() >= most_kept) kept_.erase(kept_.begin());
  prefix& p = kept_[seen.what.path];
  p.device = seen.device;
  p.inode = seen.inode;
  p.size = seen.what.size;
  p.content = reader.content();
  p.builder = reader.release();
  if (proven) {
    p.unproven_since.reset();
  } else if (!p.unproven_since) {
    p.unproven_since = std::chrono::steady_clock::now();
  }
}

bool read_prefixes::continues(const observation& found, const index_record& known) const {
  const auto at = kept_.find(found.what.path);
  if (at == kept_.end() || !known.same) return false;
  const prefix& p = at->second;
  return p.device == found.device && p.inode == found.inode && p.device == known.device &&
         p.inode == known.inode && p.size == known.size && p.content == known.content &&
         found.what.size > p.size &&
         (!p.unproven_since || std::chrono::steady_clock::now() - *p.unproven_since < longest_unproven);
}

bool read_prefixes::resume(content_reader& reader, const index_record& known) {
  if (!continues(reader.seen(), known)) return false;
  prefix& p = kept_.find(reader.seen().what.path)->second;
  reader.resume(std::exchange(p.builder, {}), p.size);
  p.content = {};  // until it is kept again
  return true;
}

}  // namespace understudy::files
