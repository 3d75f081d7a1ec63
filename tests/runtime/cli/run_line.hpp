// A command line in this process.
#pragma once

#include <vector>

#include "runtime/cli/cli.hpp"

namespace sluice {

/// The exit code of `sluice ARGUMENTS...`
inline int run_line(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "sluice");
  return run_cli(static_cast<int>(arguments.size()), arguments.data());
}

}  // namespace sluice
