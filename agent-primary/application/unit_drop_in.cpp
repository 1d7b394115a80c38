#include "agent-primary/application/unit_drop_in.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::application {
namespace {

constexpr const char* file_name = "50-understudy.conf";

std::string directory_of(const std::string& units, const application_definition& definition) {
  return units + "/" + definition.unit + ".d";
}

// systemd's quoting: within double quotes, with backslash escapes; % starts a specifier.
std::string quoted(std::string_view text, bool separator_colon) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (separator_colon && c == ':') result += "\\\\";
    if (c == '%') result += '%';
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    result += c;
  }
  return result + "\"";
}

}  // namespace

std::string drop_in_text(const application_definition& definition) {
  if (definition.binds.empty() && definition.environment.empty()) return "";
  std::string text = "# Written by Understudy while the stand-in runs; removed when it stops.\n[Service]\n";
  for (const bind_mount& bind : definition.binds) {
    const std::string source = quoted(bind.source, true);
    const std::string target = quoted(bind.target, true);
    text += fmt::format("BindPaths={}:{}\n", source.substr(0, source.size() - 1), target.substr(1));
  }
  for (const std::string& variable : definition.environment) {
    text += fmt::format("Environment={}\n", quoted(variable, false));
  }
  return text;
}

absl::StatusOr<bool> write_drop_in(const std::string& units, const application_definition& definition) {
  const std::string text = drop_in_text(definition);
  if (text.empty()) return remove_drop_in(units, definition);
  const std::string directory = directory_of(units, definition);
  std::ifstream present(directory + "/" + file_name);
  std::ostringstream present_text;
  present_text << present.rdbuf();
  if (present && present_text.str() == text) return false;
  os::file_system& fs = os::posix_file_system();
  UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(fs, directory, 0755));
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::unique_ptr<os::directory> held, fs.open_root(directory));
  UNDERSTUDY_RETURN_IF_ERROR(os::replace_file(*held, file_name, text, 0644));
  return true;
}

bool remove_drop_in(const std::string& units, const application_definition& definition) {
  const std::string directory = directory_of(units, definition);
  const bool removed = ::unlink((directory + "/" + file_name).c_str()) == 0;
  ::rmdir(directory.c_str());
  return removed;
}

}  // namespace understudy::application
