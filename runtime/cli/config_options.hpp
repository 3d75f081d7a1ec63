// The config arguments that commands share: a TOML file and --set key=value.
#pragma once

#include <string>
#include <vector>

#include "runtime/config/config.hpp"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace sluice {

struct ConfigOptions {
  std::string file;
  std::vector<std::string> sets;

  [[nodiscard]] Result<config::Config> load() const { return config::load_config(file, sets); }
};

/// Adds --set; `options` outlives the parsing.
void add_set_option(CLI::App& command, ConfigOptions& options);
/// Adds the positional CONFIG and --set.
CLI::Option* add_config_options(CLI::App& command, ConfigOptions& options);

}  // namespace sluice
