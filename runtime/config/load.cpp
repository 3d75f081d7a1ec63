// Layers a config: defaults, the file, --set; checks names, types and ranges as it goes.
#include <algorithm>
#include <type_traits>

#include "runtime/config/assign.hpp"
#include "runtime/config/config.hpp"
#include "runtime/config/key_text.hpp"
#include "runtime/store/file.hpp"

namespace sluice::config {
namespace {

constexpr std::size_t kProblemsMax = 10;
constexpr std::uint64_t kFileBytesMax = 1u << 20;

std::vector<std::string> all_names(Config& config) {
  std::vector<std::string> names;
  config.visit_fields([&](std::string_view section, auto& f) {
    names.push_back(fmt::format("{}.{}", section, f.name));
  });
  return names;
}

// Gathers what is wrong, so that one message names it all.
class Problems {
 public:
  void add(std::string text) {
    if (++count_ > kProblemsMax) return;
    text_ += text_.empty() ? std::move(text) : "\n" + text;
  }
  [[nodiscard]] Status status() const {
    if (count_ == 0) return {};
    if (count_ <= kProblemsMax) return invalid_input("{}", text_);
    return invalid_input("{}\n... and {} more", text_, count_ - kProblemsMax);
  }

 private:
  std::size_t count_ = 0;
  std::string text_;
};

struct Names {
  std::vector<std::string> keys;
  std::vector<std::string> sections;
};

Names names_of(Config& config) {
  Names names{all_names(config), {}};
  config.visit_sections([&](std::string_view name, auto&) { names.sections.emplace_back(name); });
  return names;
}

bool is_section(const Names& names, std::string_view name) {
  return std::find(names.sections.begin(), names.sections.end(), name) != names.sections.end();
}

std::string unknown(const Assignment& assignment, const Names& names) {
  const bool is_table = std::holds_alternative<EmptyTable>(assignment.value);
  if (is_section(names, assignment.key)) {
    return fmt::format("{} is a section; its keys go below [{}]", assignment.key, assignment.key);
  }
  std::string nearest = nearest_name(assignment.key, is_table ? names.sections : names.keys);
  const std::string section = assignment.key.substr(0, assignment.key.find('.'));
  if (nearest.empty() && section != assignment.key && !is_section(names, section)) {
    const std::string likely = nearest_name(section, names.sections);
    if (!likely.empty()) nearest = likely + assignment.key.substr(section.size());
  }
  // A key without its section: the section that has it.
  for (const std::string& key : names.keys) {
    if (nearest.empty() && key.ends_with("." + assignment.key)) nearest = key;
  }
  return fmt::format("unknown {} {:.100}{}", is_table ? "section" : "key", assignment.key,
                     nearest.empty() ? std::string("; `sluice config explain` lists all")
                                     : fmt::format("; did you mean {}?", nearest));
}

void apply(Config& config, const Names& names, const Assignment& assignment,
           const std::string& origin, Problems& problems) {
  if (std::holds_alternative<EmptyTable>(assignment.value) && is_section(names, assignment.key)) {
    return;
  }
  bool found = false;
  config.visit_fields([&](std::string_view section, auto& f) {
    const std::string_view key = assignment.key;
    if (found || key.size() != section.size() + 1 + f.name.size() || !key.starts_with(section) ||
        key[section.size()] != '.' || !key.ends_with(f.name)) {
      return;
    }
    found = true;
    if (const std::string problem = assign(f, assignment.value); !problem.empty()) {
      problems.add(fmt::format("{}: {} {}", origin, key, problem));
    }
  });
  if (found) {
    config.origins[assignment.key] = origin;
  } else {
    problems.add(fmt::format("{}: {}", origin, unknown(assignment, names)));
  }
}

bool takes_text(Config& config, std::string_view key) {
  bool text = false;
  config.visit_fields([&]<class T>(std::string_view section, Field<T>& f) {
    using Value = ValueOf<T>;
    if (key == fmt::format("{}.{}", section, f.name)) {
      text = std::is_same_v<Value, std::string> || std::is_same_v<Value, std::vector<std::string>>;
    }
  });
  return text;
}

// The value of --set: TOML; where that fails or the key takes text, a bare word or path as it
// stands.
Result<TomlValue> set_value(const std::string& text, bool key_takes_text) {
  auto parsed = read_toml("value = " + text, "--set");
  const bool is_one = parsed && parsed->size() == 1 && parsed->front().key == "value";
  if (is_one) {
    const TomlValue& value = parsed->front().value;
    const bool is_text = std::holds_alternative<std::string>(value) ||
                         std::holds_alternative<std::vector<std::string>>(value);
    if (is_text || !key_takes_text) return value;
    return TomlValue(text);
  }
  const bool looks_quoted =
      !text.empty() && std::string_view("\"'[{").find(text.front()) != std::string_view::npos;
  const bool is_bare = text.find_first_of("\n\r") == std::string::npos && !looks_quoted;
  if (is_bare && (key_takes_text || !text.empty())) return TomlValue(text);
  if (!parsed) return tl::unexpected(std::move(parsed).error());
  return invalid_input("--set: {:.100} is not one value", text);
}

void apply_set(Config& config, const Names& names, const std::string& set, Problems& problems) {
  const std::size_t equals = set.find('=');
  if (equals == 0 || equals == std::string::npos) {
    problems.add(fmt::format("--set {:.100}: must be key=value", set));
    return;
  }
  const auto trimmed = [](std::string text) {
    text.erase(0, std::min(text.find_first_not_of(" \t"), text.size()));
    text.erase(text.find_last_not_of(" \t") + 1);
    return text;
  };
  const std::string key = trimmed(set.substr(0, equals));
  auto value = set_value(trimmed(set.substr(equals + 1)), takes_text(config, key));
  if (!value) {
    problems.add(fmt::format("--set {:.100}: {}", key, value.error().message));
    return;
  }
  apply(config, names, {key, std::move(*value), 0}, "--set", problems);
}

}  // namespace

Result<Config> parse_config(std::string_view toml, std::string_view name,
                            std::span<const std::string> sets) {
  Config config;
  const Names names = names_of(config);
  Problems problems;
  SLUICE_ASSIGN(const auto assignments, read_toml(toml, name));
  for (const Assignment& assignment : assignments) {
    apply(config, names, assignment, fmt::format("{}:{}", name, assignment.line), problems);
  }
  for (const std::string& set : sets) apply_set(config, names, set, problems);
  SLUICE_TRY(problems.status());
  SLUICE_TRY(validate(config));
  return config;
}

Result<Config> load_config(const std::filesystem::path& file, std::span<const std::string> sets) {
  std::string text;
  if (!file.empty()) {
    SLUICE_ASSIGN(text, store::read_text(file, kFileBytesMax));
  }
  SLUICE_ASSIGN(Config config, parse_config(text, file.string(), sets));
  config.file = file;
  return config;
}

}  // namespace sluice::config
