#include "agent-failover/rows/row_follower.hpp"

#include <fmt/core.h>

#include <utility>

#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::rows {
namespace {

class view_source final : public page_source {
 public:
  view_source(history::view& of, const std::function<bool()>& go_on) : of_(of), go_on_(go_on) {}
  std::uint32_t page_size() const override { return of_.page_size(); }
  std::uint32_t page_count() const override { return of_.page_count(); }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page) override {
    if (go_on_ && !go_on_()) return absl::CancelledError("the reader is gone");
    return of_.read_page(number, page);
  }

 private:
  history::view& of_;
  const std::function<bool()>& go_on_;
};

}  // namespace

row_follower::row_follower(std::string catalog, std::shared_ptr<history::database_history> past,
                           row_choice wanted)
    : catalog_(std::move(catalog)), past_(std::move(past)), wanted_(std::move(wanted)) {}

row_follower::~row_follower() = default;

// What the history says to a reader who cannot go on is the same to him, whatever the cause.
absl::Status row_follower::lost(const absl::Status& why) const {
  if (why.code() != absl::StatusCode::kOutOfRange && why.code() != absl::StatusCode::kAborted) return why;
  return absl::OutOfRangeError(fmt::format(
      "the row changes of {} after this cursor are not kept any more ({}): read the tables from the copy, "
      "and follow from now on with an empty cursor",
      catalog_, message_of(why)));
}

absl::Status row_follower::open(std::uint64_t state) {
  auto before = past_->view_of(state);
  if (!before.ok()) return lost(before.status());
  auto after = past_->view_of(state);
  if (!after.ok()) return lost(after.status());
  view_source source(**before, wanted_.go_on);
  auto opened = decoder::open(source);
  if (!opened.ok()) return lost(opened.status());
  before_ = *std::move(before);
  after_ = *std::move(after);
  decoder_ = *std::move(opened);
  at_ = position{
      .state = state, .image = before_->combined().low, .delivered = 0, .wanted = wanted_.tables_hash};
  state_ = state;
  return absl::OkStatus();
}

absl::Status row_follower::resume(const position& from) {
  const auto refused = [&](const std::string& why) { return lost(absl::OutOfRangeError(why)); };
  const history::window kept = past_->range();
  if (!kept.exists) return refused(fmt::format("there is no history: {}", kept.began_because));
  if (from.state < kept.first) return refused(fmt::format("the history begins with state {}", kept.first));
  if (from.state > kept.last) return refused("the history began anew");
  UNDERSTUDY_RETURN_IF_ERROR(open(from.state));
  if (at_->image != from.image) return refused("the history began anew");
  if (from.wanted == wanted_.tables_hash) at_->delivered = from.delivered;
  return absl::OkStatus();
}

absl::Status row_follower::begin_at_oldest() {
  const history::window kept = past_->range();
  return kept.exists ? open(kept.first) : absl::OkStatus();
}

absl::StatusOr<bool> row_follower::step(const sink& take) {
  if (!at_) {
    const history::window kept = past_->range();
    if (!kept.exists) return false;
    UNDERSTUDY_RETURN_IF_ERROR(open(kept.last));
  }
  if (past_->range().last == at_->state) return false;
  if (const absl::Status moved = after_->advance(); !moved.ok()) {
    // Between its recording and our look it is not to be seen for a moment.
    if (moved.code() == absl::StatusCode::kOutOfRange) return false;
    return lost(moved);
  }
  const history::change& transaction = after_->last_change();
  const position done{.state = after_->state(),
                      .image = after_->combined().low,
                      .delivered = 0,
                      .wanted = wanted_.tables_hash};
  view_source before(*before_, wanted_.go_on), after(*after_, wanted_.go_on);
  std::uint64_t seen = 0;
  // One is held back, so that the last one can say that nothing of the transaction is left.
  std::optional<change> held;
  const absl::Status decoded = decoder_->decode(
      before, after, after_->changed_pages(),
      [&](change c) {
        if (++seen <= at_->delivered) return absl::OkStatus();
        if (wanted_.kinds && !wanted_.kinds(c.kind)) return absl::OkStatus();
        if (held) {
          position so_far = *at_;
          so_far.delivered = seen - 1;
          UNDERSTUDY_RETURN_IF_ERROR(take(transaction, *std::move(held), so_far));
        }
        held = std::move(c);
        return absl::OkStatus();
      },
      wanted_.tables);
  if (!decoded.ok()) return lost(decoded);
  if (held) UNDERSTUDY_RETURN_IF_ERROR(take(transaction, *std::move(held), done));
  if (const absl::Status moved = before_->advance(); !moved.ok()) return lost(moved);
  at_ = done;
  state_ = done.state;
  return true;
}

std::optional<position> row_follower::at() const {
  return at_;
}

bool row_follower::overtaken() const {
  const std::uint64_t state = state_;
  if (state == 0) return false;
  const history::window kept = past_->range();
  return kept.exists && state < kept.first;
}

}  // namespace understudy::rows
