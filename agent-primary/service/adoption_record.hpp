#pragma once

// What the agent remembers of an adoption at failback, per database: STATE/restore/CATALOG, replaced as a
// whole. It is written before the first rename and stays, so that an adoption that was cut short, or whose
// answer was lost, is finished and answered the same; and so that what a failback put here is not taken for
// the primary's own.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sqlite/page_hash.hpp"

namespace understudy::os {
class directory;
}
namespace understudy::v1 {
class DatabaseImage;
}

namespace understudy::service {

struct adopted_image {
  bool exists = false;
  std::uint32_t page_size = 0;
  std::uint32_t pages = 0;
  sqlite::page_hash hash;
  friend bool operator==(const adopted_image&, const adopted_image&) = default;
};

adopted_image from_proto(const v1::DatabaseImage& wire);
void to_proto(const adopted_image& image, v1::DatabaseImage* out);

struct adoption_record {
  std::uint64_t epoch = 0;  // the right under which it was done: with `adopted`, which adoption it is
  adopted_image adopted;    // put in place, or about to be
  adopted_image replaced;   // what was there before and held nothing of its own; none where it did
  bool diverged = false;    // what was there held commits that the failover host never had
  std::string set_aside;    // directory; empty: nothing is set aside

  // The failover host had this image: whoever finds it here finds nothing of the primary's own.
  bool knows(const adopted_image& image) const {
    return image.exists && (image == adopted || image == replaced);
  }
};

// kNotFound when there was no adoption, kDataLoss when it cannot be read.
absl::StatusOr<adoption_record> load_adoption(const std::string& state_dir, const std::string& catalog);
// Durable on return. `records`: STATE/restore.
absl::Status store_adoption(os::directory& records, const std::string& catalog,
                            const adoption_record& record);

}  // namespace understudy::service
