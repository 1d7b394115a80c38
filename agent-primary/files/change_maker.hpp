#pragma once

// Carries out operations: reads the files, makes the messages, and notes in the index what the receiver will
// have.

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-primary/files/change_finder.hpp"
#include "agent-primary/files/content_reader.hpp"
#include "agent-primary/files/dirty_set.hpp"
#include "agent-primary/files/read_prefixes.hpp"

namespace understudy::v1 {
class FileBatch;
class FileBlocks;
class FileBlocksQuestion;
class FileChange;
class FileChunk;
class FileDigests;
class FileQuestion;
}  // namespace understudy::v1

namespace understudy::files {

class change_maker {
 public:
  // All outlive it.
  change_maker(os::directory& root, tree_reader& reader, tree_index& index, dirty_set& dirty,
               bool with_attributes);

  // Adds to `batch` what the operation needs: nothing, one change or more. A large file begins an upload.
  void make(operation&& what, v1::FileBatch& batch);
  // Further operations that came of it, to be carried out next.
  std::deque<operation> take_consequences() { return std::exchange(consequences_, {}); }

  // The receiver is to be asked for the blocks of its file, and nothing else is done until it answered.
  bool wants_blocks() const { return upload_ != nullptr && upload_->blocks == block_state::wanted; }
  bool awaits_blocks() const { return upload_ != nullptr && upload_->blocks == block_state::asked; }
  void ask_blocks(v1::FileBlocksQuestion& message);
  absl::Status take_blocks(const v1::FileBlocks& blocks);

  // An upload is under way: chunks come before anything else.
  bool is_uploading() const { return upload_ != nullptr; }
  // Pieces are at most so long from now on.
  void limit_pieces(std::size_t bytes) { piece_bytes_ = bytes; }
  // An upload that was cut may go on behind its first `have` bytes if the file is still the same.
  void add_cut_upload(const entry& what, std::uint64_t have) {
    cut_uploads_[what.path] = {.size = what.size, .modified_at = what.modified_at, .have = have};
  }
  // True: `chunk` is the next one. False: the upload has ended; `batch` may have got its change.
  bool next_chunk(v1::FileChunk& chunk, v1::FileBatch& batch);

  // Files whose content the receiver is to be asked for; empty: none.
  void take_questions(v1::FileQuestion& question);
  bool has_questions() const { return !questions_.empty(); }
  bool awaits_answers() const { return !asked_.empty(); }
  absl::Status answer(const v1::FileDigests& digests);

  std::uint64_t last_sequence() const { return sequence_; }
  std::uint64_t next_sequence() const { return sequence_ + 1; }

 private:
  enum class block_state { unknown, wanted, asked, known };
  struct upload {
    std::uint64_t number = 0;
    std::unique_ptr<content_reader> reader;
    epoch_ns read_at = 0;
    std::chrono::steady_clock::time_point began;
    bool announced = false;
    bool packs_well = false;
    block_state blocks = block_state::unknown;
    std::string hashes;  // of the receiver's blocks
    std::string held;    // a piece behind a run of equal blocks
    std::uint64_t held_at = 0;
  };
  struct cut_upload {
    std::uint64_t size = 0;
    epoch_ns modified_at = 0;
    std::uint64_t have = 0;
  };
  struct question {
    observation seen;
    digest content;
    bool attributes_differ = false;
    epoch_ns read_at = 0;
    std::chrono::steady_clock::time_point read_at_steady;
  };

  v1::FileChange& add(v1::FileBatch& batch);
  bool is_known_block(const std::string& piece, std::uint64_t offset) const;
  // The next piece, or a run of blocks that the receiver has.
  absl::StatusOr<bool> next_piece(v1::FileChunk& chunk);
  void put(const std::string& path, v1::FileBatch& batch);
  void put_regular(observation&& found, v1::FileBatch& batch);
  bool link_to_known(const observation& found, v1::FileBatch& batch);
  // A name of that file, not `path`, that the receiver has as it is here: there, they must be one file, too.
  std::optional<std::string> other_name(const std::string& path, dev_t device, ino_t inode) const;
  bool append(const observation& found, v1::FileBatch& batch);
  void finish_put(content_reader& reader, std::uint64_t upload, std::string&& content, epoch_ns read_at,
                  std::chrono::steady_clock::time_point read_at_steady, v1::FileBatch& batch);
  void verify(const std::string& path, bool attributes_differ, v1::FileBatch& batch);
  void attributes(const std::string& path, v1::FileBatch& batch);
  void link(const std::string& path, const std::string& existing, v1::FileBatch& batch);
  // `known`: of the existing name.
  void make_link(const observation& found, const std::string& existing, index_record known,
                 v1::FileBatch& batch);
  void remove(const std::string& path, v1::FileBatch& batch);
  std::optional<observation> observe(const std::string& path);
  // True: what was read may be sent, though it was written meanwhile, because it is written all the time.
  bool accept_unstable(const std::string& path);
  // So that one large file that is written all the time leaves time for the others.
  void rest_after(const observation& file, std::chrono::steady_clock::time_point began);
  bool is_resting(const std::string& path);
  void failed(const std::string& path, const absl::Status& status);

  os::directory& root_;
  tree_reader& reader_;
  tree_index& index_;
  dirty_set& dirty_;
  bool with_attributes_;
  std::uint64_t sequence_ = 0;
  std::uint64_t uploads_ = 0;
  std::unique_ptr<upload> upload_;
  std::size_t piece_bytes_;
  std::map<std::string, cut_upload> cut_uploads_;
  std::deque<operation> consequences_;
  std::deque<question> questions_;
  std::deque<std::vector<question>> asked_;
  std::map<std::string, int> unstable_;
  read_prefixes prefixes_;
  std::map<std::string, std::chrono::steady_clock::time_point> not_before_;
};

}  // namespace understudy::files
