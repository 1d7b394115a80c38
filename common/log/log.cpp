#include "common/log/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace understudy::log {
namespace {

struct listener_slot {
  std::mutex mutex;
  std::shared_ptr<const std::function<void(const line&)>> function;
};

listener_slot& listener() {
  static listener_slot slot;
  return slot;
}

spdlog::level::level_enum native(level severity) {
  switch (severity) {
    case level::debug:
      return spdlog::level::debug;
    case level::info:
      return spdlog::level::info;
    case level::warning:
      return spdlog::level::warn;
    case level::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

int journal_priority(level severity) {
  switch (severity) {
    case level::debug:
      return 7;
    case level::info:
      return 6;
    case level::warning:
      return 4;
    case level::error:
      return 3;
  }
  return 6;
}

// Every line stays one line, whatever a file name or a peer's message holds.
std::string one_line(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return result;
}

std::atomic<bool> journal{false};

}  // namespace

void start(level least, bool to_journal) {
  journal = to_journal;
  auto logger = spdlog::stderr_color_mt(to_journal ? "understudy-journal" : "understudy");
  logger->set_pattern(to_journal ? "%v" : "%Y-%m-%d %H:%M:%S.%e %^%-7l%$ %v");
  logger->set_level(native(least));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

void write(level severity, std::string_view subject, std::string_view text) {
  const std::string message = one_line(text);
  const std::string head = subject.empty() ? "" : fmt::format("[{}] ", one_line(subject));
  if (journal) {
    spdlog::log(native(severity), "<{}>{}{}", journal_priority(severity), head, message);
  } else {
    spdlog::log(native(severity), "{}{}", head, message);
  }
  if (severity == level::debug) return;
  std::shared_ptr<const std::function<void(const line&)>> function;
  {
    std::lock_guard lock(listener().mutex);
    function = listener().function;
  }
  if (function) (*function)(line{severity, std::string(subject), message});
}

void set_listener(std::function<void(const line&)> function) {
  std::lock_guard lock(listener().mutex);
  listener().function =
      function ? std::make_shared<const std::function<void(const line&)>>(std::move(function)) : nullptr;
}

}  // namespace understudy::log
