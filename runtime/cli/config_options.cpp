// The config arguments that commands share.
#include "runtime/cli/config_options.hpp"

#include <CLI/CLI.hpp>

namespace sluice {

void add_set_option(CLI::App& command, ConfigOptions& options) {
  command
      .add_option("--set", options.sets,
                  "key=value for a key of the config, such as train.steps=100; may be repeated")
      ->allow_extra_args(false);  // one value each, so that an argument may follow
}

CLI::Option* add_config_options(CLI::App& command, ConfigOptions& options) {
  add_set_option(command, options);
  return command.add_option("config", options.file, "a TOML file; the defaults where absent");
}

}  // namespace sluice
