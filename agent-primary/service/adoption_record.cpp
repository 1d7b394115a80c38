#include "agent-primary/service/adoption_record.hpp"

#include <fmt/core.h>

#include <fstream>
#include <istream>
#include <sstream>

#include "common/channel/wire.hpp"
#include "common/os/file_system.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::service {
namespace {

std::string text_of(const adopted_image& image) {
  return fmt::format("{} {} {} {}", image.page_size, image.pages, image.hash.high, image.hash.low);
}

bool read(std::istream& line, adopted_image& image) {
  image.exists =
      static_cast<bool>(line >> image.page_size >> image.pages >> image.hash.high >> image.hash.low);
  return image.exists;
}

}  // namespace

adopted_image from_proto(const v1::DatabaseImage& wire) {
  if (!wire.exists()) return {};
  return {true, wire.page_size(), wire.pages(), channel::from_wire(wire.hash())};
}

void to_proto(const adopted_image& image, v1::DatabaseImage* out) {
  out->set_exists(image.exists);
  if (!image.exists) return;
  out->set_page_size(image.page_size);
  out->set_pages(image.pages);
  channel::to_wire(image.hash, out->mutable_hash());
}

absl::StatusOr<adoption_record> load_adoption(const std::string& state_dir, const std::string& catalog) {
  std::ifstream file(state_dir + "/restore/" + catalog);
  std::string line;
  if (!std::getline(file, line)) return absl::NotFoundError("no adoption was begun");
  adoption_record record;
  std::istringstream first(line);
  int diverged = 0;
  if (!read(first, record.adopted) || !(first >> diverged)) {
    return absl::DataLossError(fmt::format("the record of the last failback of {} is damaged", catalog));
  }
  record.diverged = diverged != 0;
  first >> record.epoch;
  std::getline(file, record.set_aside);
  if (std::getline(file, line)) {
    std::istringstream third(line);
    read(third, record.replaced);
  }
  return record;
}

absl::Status store_adoption(os::directory& records, const std::string& catalog,
                            const adoption_record& record) {
  std::string text = fmt::format("{} {} {}\n{}\n", text_of(record.adopted), record.diverged ? 1 : 0,
                                 record.epoch, record.set_aside);
  if (record.replaced.exists) text += text_of(record.replaced) + "\n";
  return os::replace_file(records, catalog, text);
}

}  // namespace understudy::service
