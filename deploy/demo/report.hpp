#pragma once

// What the demonstration says while it runs: a timeline, then findings, each of them checked.

#include <chrono>
#include <string>
#include <string_view>

namespace understudy::demo {

class report {
 public:
  explicit report(bool coloured);

  void title(std::string_view text);
  void note(std::string_view text);  // indented, may have several lines
  void begin_timeline();             // its clock starts here
  void line(std::chrono::system_clock::time_point at, std::string_view text);
  void line(std::string_view text);  // now
  void figure(std::string_view name, std::string_view value);
  // True as given, so that a caller may stop there.
  bool check(bool holds, std::string_view text, std::string_view otherwise = {});
  bool all_hold() const { return failures_ == 0; }

 private:
  std::string paint(const char* colour, std::string_view text) const;

  const bool coloured_;
  int failures_ = 0;
  std::chrono::system_clock::time_point begun_;
};

}  // namespace understudy::demo
