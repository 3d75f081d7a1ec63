// The table of commands, parsing, errors and exit codes.
#include "runtime/cli/cli.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <new>
#include <system_error>

namespace sluice {
namespace {

constexpr AddCommand* kCommands[] = {
    add_bench,  add_config,   add_generate, add_metrics,  add_plan,  add_probe,
    add_replay, add_schedule, add_simulate, add_tokenize, add_trace, add_train,
};

int report(const Error& error) {
  fmt::print(stderr, "sluice: error: {}\n", error.message);
  return error.kind == ErrorKind::kInvalidInput ? 2 : 1;
}

}  // namespace

Result<int> print(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    return failed("cannot write to standard output");
  return 0;
}

int run_cli(int argc, const char* const* argv) {
  CLI::App app("Sluice trains and serves DeepSeek-V3-style mixture-of-experts models.", "sluice");
  app.require_subcommand(1);
  app.set_version_flag("--version", "sluice " SLUICE_VERSION, "Print the version and exit");
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of write(), as a full disk is
  CommandRun run;
  for (AddCommand* add : kCommands) add(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      app.exit(error);
      const auto printed = print("");
      return printed ? 0 : report(printed.error());
    }
    return report({ErrorKind::kInvalidInput, fmt::format("{} (see sluice --help)", error.what())});
  }
  try {
    const auto exit_code = run();
    return exit_code ? *exit_code : report(exit_code.error());
  } catch (const std::bad_alloc&) {
    return report({ErrorKind::kFailed, "memory ran out; make the model or its batches smaller"});
  } catch (const std::system_error& error) {
    return report({ErrorKind::kFailed,
                   fmt::format("the system gives no more threads or files: {}", error.what())});
  }
}

}  // namespace sluice
