// sluice trace: what a recording shows of a run, for Perfetto and for people.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/trace_view.hpp"
#include "runtime/store/file.hpp"
#include "runtime/trace/chrome_trace.hpp"

namespace sluice {
namespace {

struct TraceArguments {
  std::string directory;
  std::string out, html, svg;
  std::int64_t step = 0;
  bool json = false;
};

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

tl::unexpected<Error> file_failure(const std::string& path) {
  return failed("cannot write {}: {}", path, std::generic_category().message(errno));
}

Result<int> export_trace(const TraceArguments& arguments) {
  SLUICE_ASSIGN(const trace::Timeline timeline, trace::read_timeline(arguments.directory));
  const std::unique_ptr<std::FILE, Close> file(std::fopen(arguments.out.c_str(), "w"));
  if (file == nullptr) {
    return invalid_input("cannot create {}: {}", arguments.out,
                         std::generic_category().message(errno));
  }
  SLUICE_TRY(trace::write_chrome_trace(timeline, [&](std::string_view text) -> Status {
    if (std::fwrite(text.data(), 1, text.size(), file.get()) != text.size())
      return file_failure(arguments.out);
    return {};
  }));
  if (std::fflush(file.get()) != 0) return file_failure(arguments.out);
  return print(fmt::format("wrote {} ({} tasks, {} messages); open it at ui.perfetto.dev\n",
                           arguments.out, timeline.tasks.size(), timeline.messages.size()));
}

void add_export(CLI::App& trace, const std::shared_ptr<TraceArguments>& arguments,
                CommandRun& run) {
  auto* command = trace.add_subcommand(
      "export", "Lanes, channels, messages and counters as JSON for Perfetto or Chrome");
  command
      ->add_option("recording", arguments->directory,
                   "folder that --record of sluice train or simulate wrote")
      ->required();
  command->add_option("--out", arguments->out, "file to write")->required();
  command->callback([arguments, &run] { run = [arguments] { return export_trace(*arguments); }; });
}

Result<int> report_trace(const TraceArguments& arguments) {
  SLUICE_ASSIGN(const trace::Timeline timeline, trace::read_timeline(arguments.directory));
  std::optional<std::int64_t> step;
  if (arguments.step > 0) step = arguments.step;
  SLUICE_ASSIGN(const trace::Report report, trace::make_report(timeline, step));
  if (!arguments.html.empty())
    SLUICE_TRY(store::write_text(arguments.html, report_page(timeline, report)));
  if (!arguments.svg.empty())
    SLUICE_TRY(store::write_text(arguments.svg, report_svg(timeline, report)));
  return print(arguments.json ? report_json(timeline, report) + "\n"
                              : report_text(timeline, report, terminal_style()));
}

void add_report(CLI::App& trace, const std::shared_ptr<TraceArguments>& arguments,
                CommandRun& run) {
  auto* command = trace.add_subcommand(
      "report",
      "Bubble, hidden and exposed communication, busy shares, expert load, longest chain of waits");
  command
      ->add_option("recording", arguments->directory,
                   "folder that --record of sluice train or simulate wrote")
      ->required();
  command->add_option("--html", arguments->html, "also write a page that needs no network");
  command->add_option("--svg", arguments->svg, "also draw a step: who worked when");
  command
      ->add_option("--step", arguments->step,
                   "training step of the chain, the page's picture and --svg; default: the slowest "
                   "but for the first two")
      ->check(CLI::Range(1, 1 << 30));
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &run] { run = [arguments] { return report_trace(*arguments); }; });
}

}  // namespace

void add_trace(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<TraceArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand("trace", "Show what happened in a recorded run");
  command->require_subcommand(1);
  add_export(*command, arguments, run);
  add_report(*command, arguments, run);
}

}  // namespace sluice
