#include "deploy/demo/report.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace understudy::demo {
namespace {

constexpr const char* green = "32";
constexpr const char* red = "1;31";
constexpr const char* bold = "1";
constexpr int figure_width = 52;

}  // namespace

report::report(bool coloured) : coloured_(coloured), begun_(std::chrono::system_clock::now()) {}

std::string report::paint(const char* colour, std::string_view text) const {
  return coloured_ ? fmt::format("\033[{}m{}\033[0m", colour, text) : std::string(text);
}

void report::title(std::string_view text) {
  fmt::print("\n{}\n", paint(bold, text));
  std::fflush(stdout);
}

void report::note(std::string_view text) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    fmt::print("  {}\n", text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  std::fflush(stdout);
}

void report::begin_timeline() {
  begun_ = std::chrono::system_clock::now();
  fmt::print("\n");
}

void report::line(std::chrono::system_clock::time_point at, std::string_view text) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at - begun_).count();
  fmt::print("  {:8.3f} s  {}\n", static_cast<double>(ms) / 1000, text);
  std::fflush(stdout);
}

void report::line(std::string_view text) {
  line(std::chrono::system_clock::now(), text);
}

void report::figure(std::string_view name, std::string_view value) {
  fmt::print("  {:<{}} {:>10}\n", name, figure_width, value);
}

bool report::check(bool holds, std::string_view text, std::string_view otherwise) {
  if (holds) {
    fmt::print("  {}  {}\n", paint(green, "ok  "), text);
  } else {
    ++failures_;
    fmt::print("  {}  {}{}{}\n", paint(red, "FAIL"), text, otherwise.empty() ? "" : ": ", otherwise);
  }
  std::fflush(stdout);
  return holds;
}

}  // namespace understudy::demo
