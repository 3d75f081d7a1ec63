// A config as TOML, help on its keys, and its digest.
#include <algorithm>

#include "kernels/base/digest.hpp"
#include "runtime/config/config.hpp"
#include "runtime/config/key_text.hpp"

namespace sluice::config {
namespace {

template <class T>
KeyHelp help_of(std::string_view section, const Field<T>& f) {
  return {fmt::format("{}.{}", section, f.name), std::string(type_text<T>()), toml_text(f.value),
          range_text(f), std::string(f.text)};
}

// "key = value", or "# key =" where an optional key is absent.
std::string assignment_of(std::string_view name, const std::string& value) {
  return value.empty() ? fmt::format("# {} =", name) : fmt::format("{} = {}", name, value);
}

// Ends with a line break; the comment stands beside the first line, a long list has a line for each
// item.
std::string with_comment(std::string_view assignment, std::string_view comment) {
  constexpr std::size_t kCommentColumn = 40;
  const std::size_t first_end = std::min(assignment.find('\n'), assignment.size());
  std::string out(assignment.substr(0, first_end));
  out.resize(std::max(out.size() + 1, kCommentColumn), ' ');
  out += fmt::format("# {}{}\n", comment, assignment.substr(first_end));
  return out;
}

std::string comment_of(const KeyHelp& help) {
  std::string text = help.doc;
  std::string detail = help.range;
  if (!help.default_value.empty()) {
    detail += (detail.empty() ? "default " : "; default ") + help.default_value;
  }
  return detail.empty() ? text : fmt::format("{} ({})", text, detail);
}

bool is_in(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Key and value of what decides the numbers of a step, in the order of the file.
std::vector<std::pair<std::string, std::string>> numerics_of(const Config& config) {
  std::vector<std::pair<std::string, std::string>> out;
  Config copy = config;
  copy.train.gradient_shards = config.gradient_shards();  // as it acts
  copy.visit_fields([&](std::string_view section, auto& f) {
    const bool decides = is_in(section, {"model", "precision", "train", "data"}) &&
                         !is_in(f.name, {"config", "steps", "validation_every",
                                         "validation_samples", "cache_directory"});
    if (decides) out.emplace_back(fmt::format("{}.{}", section, f.name), toml_text(f.value));
  });
  return out;
}

}  // namespace

std::vector<KeyHelp> explain_all() {
  std::vector<KeyHelp> all;
  Config defaults;
  defaults.visit_fields(
      [&](std::string_view section, auto& f) { all.push_back(help_of(section, f)); });
  return all;
}

Result<std::vector<KeyHelp>> explain(std::string_view key) {
  std::vector<KeyHelp> found;
  std::vector<std::string> names;
  for (const KeyHelp& help : explain_all()) {
    names.push_back(help.key);
    if (help.key == key || help.key.starts_with(std::string(key) + ".")) found.push_back(help);
  }
  if (!found.empty()) return found;
  const std::string nearest = nearest_name(key, names);
  return invalid_input("unknown key {:.100}{}", key,
                       nearest.empty() ? std::string("; `sluice config explain` lists all")
                                       : fmt::format("; did you mean {}?", nearest));
}

std::string dump_toml(const Config& config) {
  std::string out;
  std::string section_written;
  const std::vector<KeyHelp> help = explain_all();
  auto next_help = help.begin();
  Config copy = config;
  copy.visit_fields([&](std::string_view section, auto& f) {
    const KeyHelp& key = *next_help++;
    const std::string value = toml_text(f.value);
    // Of the architecture only what is overridden: the rest is config.json's.
    if (value.empty() && section == "model" && f.name != "mtp_depth") return;
    if (section != section_written) {
      out += fmt::format("{}[{}]\n", out.empty() ? "" : "\n", section);
      section_written = section;
    }
    out += with_comment(assignment_of(f.name, value), comment_of(key));
  });
  return out;
}

std::uint64_t numerics_digest(const Config& config) {
  std::string text;
  for (const auto& [key, value] : numerics_of(config)) text += fmt::format("{}={}\n", key, value);
  return digest(std::string_view(text));
}

std::vector<std::string> numerics_differences(const Config& here, const Config& there) {
  std::vector<std::string> out;
  const auto mine = numerics_of(here);
  const auto theirs = numerics_of(there);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    if (mine[i].second == theirs[i].second) continue;
    const auto shown = [](const std::string& value) {
      return value.empty() ? std::string("absent") : value;
    };
    out.push_back(fmt::format("{} ({} here, {} there)", mine[i].first, shown(mine[i].second),
                              shown(theirs[i].second)));
  }
  return out;
}

}  // namespace sluice::config
