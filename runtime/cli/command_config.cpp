// sluice config dump|explain: what a run's config is, and what each key means.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/cli/config_text.hpp"

namespace sluice {
namespace {

struct ConfigArguments {
  ConfigOptions config;
  std::string key;
  bool json = false;
};

Result<int> dump(const ConfigArguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  return print(arguments.json ? config_to_json(config) : config::dump_toml(config));
}

Result<int> explain(const ConfigArguments& arguments) {
  std::vector<config::KeyHelp> keys = config::explain_all();
  if (!arguments.key.empty()) {
    SLUICE_ASSIGN(keys, config::explain(arguments.key));
  }
  return print(arguments.json ? help_to_json(keys) : help_to_text(keys));
}

template <class T>
nlohmann::json to_json(const T& value) {
  return value;
}
template <class T>
nlohmann::json to_json(const std::optional<T>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

std::string to_text(const nlohmann::ordered_json& value) {
  return value.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string config_to_json(const config::Config& config) {
  nlohmann::ordered_json out;
  config::Config copy = config;
  copy.visit_fields([&out](std::string_view section, auto& f) {
    out[std::string(section)][std::string(f.name)] = to_json(f.value);
  });
  return to_text(out);
}

std::string help_to_text(std::span<const config::KeyHelp> keys) {
  std::string out;
  for (const config::KeyHelp& key : keys) {
    out += fmt::format("{}: {}{}{}{}{}\n    {}\n", key.key, key.type, key.range.empty() ? "" : ", ",
                       key.range, key.default_value.empty() ? ", absent" : ", default ",
                       key.default_value, key.doc);
  }
  return out;
}

std::string help_to_json(std::span<const config::KeyHelp> keys) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const config::KeyHelp& key : keys) {
    out.push_back({{"key", key.key},
                   {"type", key.type},
                   {"default", key.default_value},
                   {"range", key.range},
                   {"doc", key.doc}});
  }
  return to_text(out);
}

void add_config(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<ConfigArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand("config", "Show a run's config, or explain its keys");
  command->require_subcommand(1);
  auto* dump_command = command->add_subcommand(
      "dump", "The whole config as TOML: the defaults, then the file, then --set");
  add_config_options(*dump_command, arguments->config);
  dump_command->add_flag("--json", arguments->json, "as JSON");
  dump_command->callback([arguments, &run] { run = [arguments] { return dump(*arguments); }; });
  auto* explain_command =
      command->add_subcommand("explain", "Meaning, type, range and default of keys");
  explain_command->add_option("key", arguments->key, "a key or a section; all where absent");
  explain_command->add_flag("--json", arguments->json, "as JSON");
  explain_command->callback(
      [arguments, &run] { run = [arguments] { return explain(*arguments); }; });
}

}  // namespace sluice
