// The command line's frame: each command registers its options and leaves what to run.
#pragma once

#include <functional>
#include <string_view>

#include "kernels/base/result.hpp"

namespace CLI {
class App;
}

namespace sluice {

/// What a command does once the whole line is parsed; the exit code, or an Error.
using CommandRun = std::function<Result<int>()>;

/// A command adds its subcommand to `app`; the subcommand's callback sets `run`.
using AddCommand = void(CLI::App& app, CommandRun& run);

/// One per command_<name>.cpp; the table in cli.cpp names them all.
AddCommand add_bench;
AddCommand add_config;
AddCommand add_generate;
AddCommand add_metrics;
AddCommand add_plan;
AddCommand add_probe;
AddCommand add_replay;
AddCommand add_schedule;
AddCommand add_simulate;
AddCommand add_tokenize;
AddCommand add_trace;
AddCommand add_train;

/// What a command has to say, on standard output: 0, or an Error where it did not get there.
Result<int> print(std::string_view text);

/// Exit codes: 0 done, 1 something failed later, 2 the caller's input is wrong. An Error is one
/// line on standard error, "sluice: error: ...".
int run_cli(int argc, const char* const* argv);

}  // namespace sluice
