#include "tests/support/rows/followed_copy.hpp"

#include <filesystem>
#include <stdexcept>

#include "common/status/status_text.hpp"
#include "tests/support/wait.hpp"

namespace understudy::rows::testing {
namespace {

void need(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(message_of(status)));
}

}  // namespace

followed_copy::followed_copy(const recorder_options& options)
    : primary_(options),
      keeper_(os::posix_file_system(), "server", place_.path() + "/history", {}),
      past_(keeper_.history_of("db")) {
  std::filesystem::create_directory(place_.path() + "/copies");
  replica::copy_options how;
  how.observer = past_;
  auto opened = replica::database_copy::open(
      os::posix_file_system().open_root(place_.path() + "/copies").value(), "copy.db", how);
  need(opened.status());
  copy_ = *std::move(opened);
}

void followed_copy::begin(const std::string& sql) {
  if (!primary_.execute(sql)) throw std::runtime_error(primary_.error);
  primary_.step();
  need(copy_->begin_heal(channel::heal_way::new_file, primary_.after.size));
  std::vector<std::uint32_t> all;
  for (std::uint32_t page = 1; page <= primary_.after.page_count(); ++page) all.push_back(page);
  add(all);
  need(copy_->end_heal(primary_.after.page_count(), register_));
  need(copy_->commit_durably());
  if (!wait_for_history()) throw std::runtime_error("no history");
}

void followed_copy::run(const std::string& sql) {
  if (!primary_.execute(sql)) throw std::runtime_error(primary_.error);
  if (!primary_.step()) throw std::runtime_error("nothing was committed");
  channel::transaction_header header;
  header.number = ++number_;
  header.page_size = primary_.after.size;
  header.database_pages = primary_.after.page_count();
  header.hash_before = register_;
  std::vector<std::uint32_t> there;
  for (const std::uint32_t page : primary_.changed) {
    if (page <= primary_.after.page_count()) there.push_back(page);
  }
  add(there);
  header.hash_after = register_;
  need(copy_->end_transaction(header));
  need(copy_->commit_durably());
  need(copy_->fold_if_due());
}

bool followed_copy::wait_for_history() {
  return test::wait_until(
      [&] {
        const auto kept = past_->range();
        return kept.exists && kept.behind == 0;
      },
      std::chrono::seconds(20));
}

void followed_copy::add(const std::vector<std::uint32_t>& numbers) {
  std::vector<channel::page_image> images;
  hashes_.resize(primary_.after.page_count());
  for (const std::uint32_t page : numbers) {
    images.push_back({page, *primary_.after.content[page - 1]});
    hashes_.set(page, sqlite::hash_page(page, std::as_bytes(std::span(images.back().bytes))));
  }
  register_ = hashes_.combined();
  need(copy_->add_pages(primary_.after.size, images));
}

}  // namespace understudy::rows::testing
