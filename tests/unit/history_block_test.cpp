// The bytes of a history's log: what is written is read back, and whatever else is there costs nothing worse
// than a kDataLoss.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "agent-failover/history/block.hpp"
#include "agent-failover/history/change_log.hpp"
#include "agent-failover/history/change_log_reader.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using history::block;
using history::change_kind;
using history::clock_time;

std::span<const std::byte> bytes_of(const std::string& s) {
  return std::as_bytes(std::span(s));
}

clock_time at(int seconds) {
  return clock_time(std::chrono::seconds(1'700'000'000 + seconds));
}

block some_block(std::mt19937_64& random) {
  block b;
  b.what.sequence = 1 + random() % 1000;
  b.what.kind = random() % 4 == 0 ? change_kind::heal : change_kind::transaction;
  b.what.time_estimated = random() % 2 == 0;
  b.what.number = random();
  b.what.committed_at = at(static_cast<int>(random() % 1000));
  b.what.applied_at = at(static_cast<int>(random() % 1000));
  b.what.page_size_before = b.what.page_size = 512u << (random() % 4);
  b.what.pages_before = 50;
  b.what.pages = 60;
  b.what.register_before = {random(), random()};
  b.what.register_after = {random(), random()};
  b.last = random() % 2 == 0;
  for (std::uint32_t page = 1; page <= 50; ++page) {
    if (random() % 3 == 0) b.imaged.push_back(page);
  }
  for (std::uint32_t page = 51; page <= 60; ++page) {
    if (random() % 2 == 0) b.listed.push_back(page);
  }
  return b;
}

std::string some_images(const block& b, std::mt19937_64& random) {
  std::string images(b.imaged.size() * b.what.page_size_before, 'x');
  for (auto& c : images) {
    if (random() % 8 == 0) c = static_cast<char>(random());
  }
  return images;
}

TEST(history_block, is_read_as_it_was_written) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    const block b = some_block(random);
    const std::string images = some_images(b, random);
    const std::string written = history::encode_block(b, images, i % 2 == 0);
    const auto head = history::head_bytes_of(bytes_of(written));
    ASSERT_TRUE(head.ok());
    const auto read = history::parse_block_head(bytes_of(written).first(*head));
    ASSERT_TRUE(read.ok()) << message_of(read.status());
    EXPECT_EQ(read->bytes, written.size());
    EXPECT_EQ(read->imaged, b.imaged);
    EXPECT_EQ(read->listed, b.listed);
    EXPECT_EQ(read->last, b.last);
    EXPECT_EQ(read->what.sequence, b.what.sequence);
    EXPECT_EQ(read->what.kind, b.what.kind);
    EXPECT_EQ(read->what.number, b.what.number);
    EXPECT_EQ(read->what.committed_at, b.what.committed_at);
    EXPECT_EQ(read->what.applied_at, b.what.applied_at);
    EXPECT_EQ(read->what.time_estimated, b.what.time_estimated);
    EXPECT_EQ(read->what.register_before, b.what.register_before);
    EXPECT_EQ(read->what.register_after, b.what.register_after);
    EXPECT_EQ(history::images_of(*read, bytes_of(written).subspan(*head)).value(), images);
  }
}

TEST(history_block, any_single_change_is_noticed) {
  std::mt19937_64 random(2);
  const block b = some_block(random);
  const std::string images = some_images(b, random);
  const std::string written = history::encode_block(b, images, true);
  for (std::size_t i = 0; i < written.size(); ++i) {
    std::string changed = written;
    changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
    const auto head = history::head_bytes_of(bytes_of(changed));
    if (!head.ok() || *head > changed.size()) continue;
    const auto read = history::parse_block_head(bytes_of(changed).first(*head));
    if (!read.ok()) continue;
    EXPECT_FALSE(history::images_of(*read, bytes_of(changed).subspan(*head)).ok()) << "byte " << i;
  }
}

// Takes whatever is there for a block and for an index, as a reader would.
void read_as_anything(std::span<const std::byte> bytes) {
  (void)history::parse_segment_header(bytes);
  const auto head = history::head_bytes_of(bytes);
  if (!head.ok()) return;
  const auto b = history::parse_block_head(bytes.first(std::min(*head, bytes.size())));
  if (!b.ok() || b->bytes > bytes.size()) return;
  const auto payload = bytes.subspan(*head, b->payload_bytes());
  (void)history::images_of(*b, payload);
  (void)history::reason_of(*b, payload);
  (void)history::marks_of(*b, payload);
}

TEST(history_block, survives_whatever_it_is_given) {
  std::mt19937_64 random(3);
  std::vector<std::string> seeds;
  for (int i = 0; i < 20; ++i) {
    const block b = some_block(random);
    seeds.push_back(history::encode_block(b, some_images(b, random), i % 2 == 0));
  }
  history::change begin = some_block(random).what;
  seeds.push_back(history::encode_begin(begin, "because"));
  const std::vector<history::mark> marks{{1, 48, at(1)}, {5, 5000, at(2)}, {9, 90000, at(3)}};
  seeds.push_back(history::encode_index(12, marks));
  const auto header = history::encode(history::segment_header{7, at(1), at(2)});
  seeds.emplace_back(reinterpret_cast<const char*>(header.data()), header.size());
  const int rounds = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 3'000'000 : 60'000;
  for (int i = 0; i < rounds; ++i) {
    std::string bytes = seeds[random() % seeds.size()];
    for (auto edits = 1 + random() % 4; edits > 0 && !bytes.empty(); --edits) {
      // The fields that say how much there is, most of all.
      const std::size_t where =
          random() % (random() % 2 == 0 ? std::min<std::size_t>(bytes.size(), 128) : bytes.size());
      switch (random() % 4) {
        case 0:
          bytes[where] = static_cast<char>(random());
          break;
        case 1:
          bytes[where] = static_cast<char>(0xff);
          break;
        case 2:
          bytes.resize(where);
          break;
        default:
          bytes.insert(where, std::string(random() % 9, static_cast<char>(random())));
      }
    }
    // A copy of exactly that size, so that a sanitizer sees every byte read beyond it.
    const std::vector<std::byte> exact(bytes_of(bytes).begin(), bytes_of(bytes).end());
    read_as_anything(exact);
  }
}

TEST(history_log, survives_whatever_lies_in_its_directory) {
  const test::temporary_directory place(test::where::memory);
  const std::string directory = place.path() + "/log";
  auto& fs = os::posix_file_system();
  std::mt19937_64 random(4);
  const auto fill = [&] {
    auto log = history::change_log::open(fs, directory, 8 << 10).value();
    history::change c;
    c.page_size = 512;
    c.pages = 60;
    c.applied_at = c.committed_at = at(0);
    ASSERT_TRUE(log->begin(c, "a test").ok());
    const std::uint64_t first = log->last()->sequence;
    for (std::uint64_t n = 1; n <= 40; ++n) {
      block b = some_block(random);
      b.what.page_size_before = b.what.page_size = 512;
      b.what.sequence = first + n;
      b.last = true;
      ASSERT_TRUE(log->append(b, some_images(b, random), true).ok());
      ASSERT_TRUE(log->flush().ok());
    }
  };
  const int rounds = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 3000 : 150;
  for (int i = 0; i < rounds; ++i) {
    std::filesystem::remove_all(directory);
    fill();
    if (HasFatalFailure()) return;
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    ASSERT_GT(files.size(), 3u);
    const auto& victim = files[random() % files.size()];
    const auto size = std::filesystem::file_size(victim);
    switch (random() % 4) {
      case 0:
        std::filesystem::resize_file(victim, random() % (size + 1));
        break;
      case 1:
        std::filesystem::remove(victim);
        break;
      case 2:
        std::filesystem::resize_file(victim, size + random() % 1000);
        break;
      default: {
        std::fstream f(victim, std::ios::in | std::ios::out | std::ios::binary);
        f.seekp(static_cast<std::streamoff>(random() % size));
        const auto noise = random();
        f.write(reinterpret_cast<const char*>(&noise), sizeof noise);
      }
    }
    const auto log = history::change_log::open(fs, directory, 8 << 10);
    ASSERT_TRUE(log.ok()) << message_of(log.status());
    const auto e = (*log)->range();
    if (!e.exists) continue;
    // From the first to the last nothing is missing but what says that it is damaged.
    history::change_log_reader reader(**log);
    if (e.first == e.last) continue;
    auto where = reader.find(e.first + 1);
    if (!where.ok()) {
      EXPECT_TRUE(absl::IsDataLoss(where.status())) << message_of(where.status());
      continue;
    }
    std::uint64_t sequence = e.first;
    for (;;) {
      const auto b = reader.next(*where);
      if (!b.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(b.status())) << message_of(b.status());
        break;
      }
      if (!b->has_value()) {
        EXPECT_EQ(sequence, e.last);
        break;
      }
      EXPECT_EQ((*b)->what.sequence, ++sequence);
    }
  }
}

}  // namespace
}  // namespace understudy
