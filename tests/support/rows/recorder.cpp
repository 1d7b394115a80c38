#include "tests/support/rows/recorder.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>
#include <stdexcept>

#include "common/sqlite/wal_format.hpp"

namespace understudy::rows::testing {

absl::Status pages::read_page(std::uint32_t number, std::span<std::byte> page) {
  if (number == 0 || number > content.size()) return absl::OutOfRangeError("no such page");
  std::memcpy(page.data(), content[number - 1]->data(), page.size());
  return absl::OkStatus();
}

recorder::recorder(const recorder_options& options) : path_(directory_.path() + "/recorded.db") {
  if (sqlite3_open(path_.c_str(), &connection_) != SQLITE_OK) throw std::runtime_error("open");
  int reserved = options.reserved;
  sqlite3_file_control(connection_, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
  execute(
      fmt::format("PRAGMA page_size={}; PRAGMA encoding='{}'; PRAGMA auto_vacuum={}; PRAGMA journal_mode=WAL;"
                  "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF",
                  options.page_size, options.encoding, options.auto_vacuum));
  sqlite3_wal_hook(
      connection_,
      [](void* self, sqlite3*, const char*, int frames) {
        static_cast<recorder*>(self)->frames_ = frames;
        return SQLITE_OK;
      },
      this);
  // The switch to WAL mode has made page 1.
  std::ifstream file(path_, std::ios::binary);
  std::string all((std::istreambuf_iterator<char>(file)), {});
  after.size = static_cast<std::uint32_t>(options.page_size);
  for (std::size_t at = 0; at + after.size <= all.size(); at += after.size) {
    after.content.push_back(std::make_shared<const std::string>(all.substr(at, after.size)));
  }
  before = after;
}

recorder::~recorder() {
  sqlite3_close_v2(connection_);
}

bool recorder::execute(const std::string& sql) {
  char* message = nullptr;
  const int code = sqlite3_exec(connection_, sql.c_str(), nullptr, nullptr, &message);
  error = message != nullptr ? message : "";
  sqlite3_free(message);
  return code == SQLITE_OK;
}

void recorder::restart_log() {
  if (!execute("PRAGMA wal_checkpoint(TRUNCATE)")) throw std::runtime_error("checkpoint: " + error);
  frames_ = read_ = 0;
}

bool recorder::step() {
  if (frames_ <= read_) return false;
  before = after;
  changed.clear();
  std::ifstream wal(path_ + "-wal", std::ios::binary);
  std::string frame(sqlite::wal_frame_header_bytes + after.size, '\0');
  wal.seekg(
      static_cast<std::streamoff>(sqlite::frame_offset(static_cast<std::uint32_t>(read_) + 1, after.size)));
  std::set<std::uint32_t> numbers;
  std::uint32_t size = 0;
  for (; read_ < frames_; ++read_) {
    if (!wal.read(frame.data(), static_cast<std::streamsize>(frame.size())))
      throw std::runtime_error("short -wal");
    const auto header = sqlite::parse_frame_header(std::as_bytes(std::span(frame)).first<24>());
    if (header.page_number > after.content.size()) {
      after.content.resize(header.page_number, std::make_shared<const std::string>(after.size, '\0'));
    }
    after.content[header.page_number - 1] =
        std::make_shared<const std::string>(frame.substr(sqlite::wal_frame_header_bytes));
    numbers.insert(header.page_number);
    if (header.commit_pages != 0) size = header.commit_pages;
  }
  if (size == 0) throw std::runtime_error("no commit frame");
  for (std::size_t page = size + 1; page <= before.content.size(); ++page) {
    numbers.insert(static_cast<std::uint32_t>(page));  // cut off
  }
  after.content.resize(size, std::make_shared<const std::string>(after.size, '\0'));
  changed.assign(numbers.begin(), numbers.end());
  if (frames_ > 2000) restart_log();
  return true;
}

}  // namespace understudy::rows::testing
