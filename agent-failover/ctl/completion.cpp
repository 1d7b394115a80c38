#include "agent-failover/ctl/completion.hpp"

#include <fmt/core.h>

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace understudy::ctl {

namespace {

struct option_entry {
  std::vector<std::string> flags;   // with their dashes
  std::vector<std::string> values;  // a fixed set, if there is one
  bool takes_value = false;
  std::string description;
};

// One place in the tree: what may come next there.
struct place {
  std::string path;  // "understudyctl server add"
  std::vector<std::pair<std::string, std::string>> verbs;
  std::vector<option_entry> options;
  std::vector<std::string> words;  // a fixed set for the positional
  bool takes_server = false;
};

// CLI11 shows a fixed set as "{a,b,c}" in the type's name.
std::vector<std::string> fixed_set(const CLI::Option& option) {
  const auto type = option.get_type_name();
  const auto open = type.find('{');
  const auto close = type.find('}', open);
  std::vector<std::string> values;
  if (open == std::string::npos || close == std::string::npos) return values;
  std::string word;
  for (std::size_t i = open + 1; i <= close; ++i) {
    if (type[i] != ',' && type[i] != '}') {
      word += type[i];
    } else if (!word.empty()) {
      values.push_back(word);
      word.clear();
    }
  }
  return values;
}

void collect(const CLI::App& app, const std::string& path, std::vector<option_entry> inherited,
             std::vector<place>* places) {
  place here;
  here.path = path;
  for (const auto* option : app.get_options()) {
    option_entry entry;
    for (const auto& name : option->get_snames()) entry.flags.push_back("-" + name);
    for (const auto& name : option->get_lnames()) entry.flags.push_back("--" + name);
    entry.values = fixed_set(*option);
    entry.takes_value = option->get_items_expected_max() > 0;
    entry.description = option->get_description();
    if (entry.flags.empty()) {
      here.takes_server = here.takes_server || option->get_name(true) == "NAME";
      here.words = entry.values;
    } else {
      here.options.push_back(entry);
    }
  }
  // What stands at the root may be given anywhere; -h and --help every place has itself.
  const auto own = here.options;
  for (const auto& entry : inherited) {
    const bool version = entry.flags.back() == "--version" || entry.flags.back() == "--help";
    if (!version) here.options.push_back(entry);
  }
  if (inherited.empty()) inherited = own;
  std::vector<const CLI::App*> verbs;
  for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    here.verbs.emplace_back(verb->get_name(), verb->get_description());
    verbs.push_back(verb);
  }
  places->push_back(std::move(here));
  for (const auto* verb : verbs) collect(*verb, path + " " + verb->get_name(), inherited, places);
}

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

std::string candidates(const place& here) {
  std::vector<std::string> words;
  for (const auto& [verb, description] : here.verbs) words.push_back(verb);
  for (const auto& entry : here.options) words.insert(words.end(), entry.flags.begin(), entry.flags.end());
  words.insert(words.end(), here.words.begin(), here.words.end());
  return joined(words, " ");
}

// In single quotes, for any of the three shells.
std::string quoted(const std::string& text, const std::string& escaped_quote) {
  std::string result = "'";
  for (char c : text) c == '\'' ? result += escaped_quote : result += c;
  return result + "'";
}

// Bodies of two `case` statements that bash and zsh share: the values of an option, the words of a place.
std::string value_cases(const std::vector<place>& places) {
  std::string text;
  for (const auto& here : places) {
    for (const auto& entry : here.options) {
      if (!entry.takes_value) continue;
      std::vector<std::string> patterns;
      for (const auto& flag : entry.flags) patterns.push_back(fmt::format("'{}:{}'", here.path, flag));
      text +=
          fmt::format("    {}) words='{}'; value=1 ;;\n", joined(patterns, "|"), joined(entry.values, " "));
    }
  }
  return text;
}

std::string word_cases(const std::vector<place>& places) {
  std::string text;
  for (const auto& here : places) {
    text += fmt::format("      '{}') words='{}'{} ;;\n", here.path, candidates(here),
                        here.takes_server ? "; names=1" : "");
  }
  return text;
}

std::string path_list(const std::vector<place>& places, const char* separator) {
  std::vector<std::string> patterns;
  for (const auto& here : places) {
    if (here.path.find(' ') != std::string::npos) patterns.push_back("'" + here.path + "'");
  }
  return joined(patterns, separator);
}

constexpr const char* SERVERS =
    "understudyctl --timeout 2s server list 2>/dev/null | awk 'NR > 1 { print $1 }'";

// `text` with each @NAME@ replaced; scripts are full of braces, which fmt would want doubled.
std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [name, value] : values) {
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + value.size())) {
      text.replace(at, name.size(), value);
    }
  }
  return text;
}

constexpr const char* BASH =
    R"sh(# bash completion for understudyctl; load it with: source <(understudyctl completion bash)
_understudyctl() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local path=understudyctl words='' value='' names='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path ${COMP_WORDS[i]}" in
      @PATHS@) path="$path ${COMP_WORDS[i]}" ;;
    esac
  done
  case "$path:$previous" in
@VALUES@  esac
  if [ -z "$value" ]; then
    case "$path" in
@WORDS@    esac
    if [ -n "$names" ] && [ "${current#-}" = "$current" ]; then
      words="$words $(@SERVERS@)"
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _understudyctl understudyctl
)sh";

constexpr const char* ZSH = R"sh(#compdef understudyctl
# zsh completion for understudyctl; load it with: source <(understudyctl completion zsh)
_understudyctl() {
  local previous="${words[CURRENT-1]}" line=understudyctl value='' names='' i
  local -a given
  given=("${(@)words}")
  local words=''
  for ((i = 2; i < CURRENT; i++)); do
    case "$line ${given[i]}" in
      @PATHS@) line="$line ${given[i]}" ;;
    esac
  done
  case "$line:$previous" in
@VALUES@  esac
  if [[ -z "$value" ]]; then
    case "$line" in
@WORDS@    esac
    if [[ -n "$names" ]]; then
      words="$words $(@SERVERS@)"
    fi
  fi
  if [[ -n "$value" && -z "$words" ]]; then
    _files
  else
    compadd -- ${=words}
  fi
}
compdef _understudyctl understudyctl
)sh";

constexpr const char* FISH =
    R"sh(# fish completion for understudyctl; load it with: understudyctl completion fish | source
function __understudyctl_at
  set -l path understudyctl
  for word in (commandline -opc)[2..]
    if contains -- "$path $word" @PATHS@
      set path "$path $word"
    end
  end
  test "$path" = "$argv[1]"
end
function __understudyctl_servers
  @SERVERS@
end
complete -c understudyctl -f
)sh";

std::string fish_script(const std::vector<place>& places) {
  const auto quote = [](const std::string& text) { return quoted(text, "\\'"); };
  auto text = filled(FISH, {{"@PATHS@", path_list(places, " ")}, {"@SERVERS@", SERVERS}});
  for (const auto& here : places) {
    const auto at = fmt::format("complete -c understudyctl -n \"__understudyctl_at '{}'\"", here.path);
    for (const auto& [verb, description] : here.verbs)
      text += fmt::format("{} -a {} -d {}\n", at, verb, quote(description));
    for (const auto& word : here.words) text += fmt::format("{} -a {}\n", at, word);
    if (here.takes_server) text += fmt::format("{} -a '(__understudyctl_servers)'\n", at);
    for (const auto& entry : here.options) {
      text += at;
      for (const auto& flag : entry.flags) {
        text += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
      }
      if (!entry.values.empty()) {
        text += fmt::format(" -x -a '{}'", joined(entry.values, " "));
      } else if (entry.takes_value) {
        text += " -r";
      }
      text += fmt::format(" -d {}\n", quote(entry.description));
    }
  }
  return text;
}

}  // namespace

std::string completion_script(const CLI::App& root, const std::string& shell) {
  std::vector<place> places;
  collect(root, root.get_name(), {}, &places);
  if (shell == "fish") return fish_script(places);
  return filled(shell == "zsh" ? ZSH : BASH, {{"@PATHS@", path_list(places, "|")},
                                              {"@VALUES@", value_cases(places)},
                                              {"@WORDS@", word_cases(places)},
                                              {"@SERVERS@", SERVERS}});
}

}  // namespace understudy::ctl
