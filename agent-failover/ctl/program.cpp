#include "agent-failover/ctl/program.hpp"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <CLI/Validators.hpp>
#include <cstdlib>
#include <iostream>

#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "agent-failover/ctl/typo.hpp"
#include "agent-failover/ctl/verbs.hpp"
#include "agent-failover/ctl/version.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::ctl {

namespace {

constexpr const char* FOOTER = R"(Options of every verb may stand before or after it.
Exit codes: 0 ok, 1 failed, 2 usage, 3 degraded, 4 unreachable, 5 denied, 6 not found, 7 precondition, 8 timeout.
Environment: UNDERSTUDY_HOST, UNDERSTUDY_TOKEN, UNDERSTUDY_CA, UNDERSTUDY_INSECURE=1, UNDERSTUDY_CTL_CONFIG, NO_COLOR.
Configuration: ~/.config/understudy/ctl.toml.)";

std::optional<std::string> from_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>{value};
}

void add_globals(CLI::App& root, session& s) {
  root.set_version_flag("--version", version_line(), "print the version");
  root.add_option("--host", s.options.host, "the failover host, ADDRESS:PORT (127.0.0.1:7200)");
  root.add_option("-o,--output", s.options.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  root.add_option("--timeout", s.options.timeout, "how long at most, for example 90s");
  root.add_option("--ca", s.options.ca, "the failover host's CA certificate");
  root.add_flag("--insecure", s.options.insecure, "speak in plain text to another machine");
}

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// The option of `app`, or of what stands above it.
const CLI::Option* find_option(const CLI::App* app, const std::string& flag) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const auto* option = app->get_option_no_throw(flag)) return option;
  }
  return nullptr;
}

std::string unknown(const char* what, const std::string& word, const std::vector<std::string>& known) {
  const auto meant = nearest(word, known);
  return fmt::format("there is no {} \"{}\"{}", what, word,
                     meant ? fmt::format("; did you mean \"{}\"?", *meant) : "");
}

// What is wrong with the first word that the tree does not know; empty when it knows all of them.
std::string unknown_word(const CLI::App& root, int argc, char** argv) {
  const CLI::App* at = &root;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") return "";
    if (word.starts_with("--")) {
      const auto flag = word.substr(0, word.find('='));
      const auto* option = find_option(at, flag);
      if (option == nullptr) {
        std::vector<std::string> known;
        for (const auto* app = at; app != nullptr; app = app->get_parent()) {
          for (const auto* candidate : app->get_options()) {
            for (const auto& name : candidate->get_lnames()) known.push_back("--" + name);
          }
        }
        return unknown("option", flag, known);
      }
      if (option->get_items_expected_max() > 0 && flag == word) ++i;
    } else if (word.starts_with('-') && word.size() > 1) {
      const auto* option = find_option(at, word);
      if (option != nullptr && option->get_items_expected_max() > 0) ++i;
    } else if (const auto verbs = verbs_of(*at); !verbs.empty()) {
      std::vector<std::string> known;
      const CLI::App* next = nullptr;
      for (const auto* verb : verbs) {
        known.push_back(verb->get_name());
        if (verb->get_name() == word) next = verb;
      }
      if (next == nullptr) return unknown("verb", word, known);
      at = next;
    }
  }
  return "";
}

int usage(const CLI::App& root, session& s, const CLI::ParseError& error, int argc, char** argv) {
  auto message = unknown_word(root, argc, argv);
  const CLI::App* at = &root;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  std::string path = "understudyctl";
  std::vector<std::string> names;
  for (const auto* app = at; app->get_parent() != nullptr; app = app->get_parent())
    names.push_back(app->get_name());
  for (auto name = names.rbegin(); name != names.rend(); ++name) path += " " + *name;
  if (message.empty()) message = error.what();
  s.screen().err(error_text(with_hint(absl::InvalidArgumentError(message), path + " --help"),
                            s.screen().colored_errors()));
  return static_cast<int>(exit_code::usage);
}

int report(session& s, const verb_result& result) {
  s.screen().end_progress();
  const bool written = s.screen().flush();
  if (interrupted()) {
    // What goes on although we stop is said; that the call was cancelled is not news.
    if (!result.ok() && !hints_of(result.status()).empty()) {
      s.screen().err(error_text(result.status(), s.screen().colored_errors()));
    }
    return static_cast<int>(exit_code::interrupted);
  }
  if (!result.ok()) {
    s.screen().err(error_text(result.status(), s.screen().colored_errors()));
    return static_cast<int>(exit_code_of(result.status().code()));
  }
  if (!written) {
    s.screen().err("understudyctl: stdout did not take everything\n");
    return static_cast<int>(exit_code::failed);
  }
  return static_cast<int>(*result);
}

}  // namespace

CLI::App* add_group(CLI::App& root, const std::string& name, const std::string& description) {
  auto* group = root.add_subcommand(name, description);
  group->require_subcommand(1);
  return group;
}

void on(CLI::App* verb, session& s, verb_body body) {
  verb->callback([&s, body = std::move(body)] { s.choose(body); });
}

CLI::Option* add_server_name(CLI::App* verb, std::string* name) {
  return verb->add_option("NAME", *name, "the server")->required();
}

view view_of(session& s) {
  return {std::chrono::system_clock::now(), s.screen().width(), s.screen().colored()};
}

verb_result show(session& s, const google::protobuf::Message& message, const std::string& text,
                 exit_code code) {
  if (s.json()) {
    UNDERSTUDY_RETURN_IF_ERROR(s.print_document(message));
  } else {
    s.screen().out(text);
  }
  return code;
}

int run(int argc, char** argv) {
  session s{from_environment};
  CLI::App root{"Understudy's failover host, from the command line.", "understudyctl"};
  root.footer("");
  root.fallthrough();
  root.require_subcommand(1);
  add_globals(root, s);
  add_status_verbs(root, s);
  add_server_verbs(root, s);
  add_takeover_verbs(root, s);
  add_monitoring_verbs(root, s);
  add_application_verbs(root, s);
  add_operation_verbs(root, s);
  add_history_verbs(root, s);
  add_recovery_verbs(root, s);
  add_configuration_verbs(root, s);
  add_access_verbs(root, s);
  add_diagnosis_verbs(root, s);
  // After the verbs: they would inherit it.
  root.footer(FOOTER);

  if (argc < 2) {
    s.screen().err(root.help());
    return static_cast<int>(exit_code::usage);
  }
  try {
    root.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    root.exit(wanted, std::cout, std::cerr);
    return 0;
  } catch (const CLI::ParseError& error) {
    return usage(root, s, error, argc, argv);
  }
  catch_interrupts();
  return report(s, s.run_verb());
}

}  // namespace understudy::ctl
