// sluice replay: a recording run again and compared, one actor of it up to a message, or two
// recordings compared.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/engine/replay.hpp"
#include "runtime/trace/compare.hpp"

/// Called before the message that --until names, whether or not a debugger is there. Break here.
extern "C" [[gnu::noinline]] void sluice_replay_stop(const char* message) {
  asm volatile("" : : "r"(message) : "memory");
}

namespace sluice {
namespace {

using nlohmann::ordered_json;

struct ReplayArguments {
  ConfigOptions config;
  engine::ReplayOptions replay;
  std::string directory, dump;
  std::vector<std::string> compare;
  bool json = false;
};

bool has_debugger() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("TracerPid:")) return line.find_first_of("123456789") != std::string::npos;
  return false;
}

// Under a debugger the replay goes on when its user says so.
bool stop_here(const std::string& message) {
  fmt::print(stderr, "stopped before {}\n", message);
  sluice_replay_stop(message.c_str());
  if (!has_debugger()) return false;
  std::raise(SIGTRAP);
  return true;
}

ordered_json to_json(const trace::Difference& d) {
  return {{"actor", d.actor},
          {"message", d.message},
          {"receiver", d.receiver},
          {"note", d.note},
          {"field", d.field},
          {"array", d.array},
          {"element", d.element},
          {"recorded", d.here},
          {"replayed", d.there},
          {"elements", d.elements},
          {"elements_differ", d.elements_differ},
          {"distance_max", d.distance_max}};
}

ordered_json to_json(const engine::ReplayReport& r) {
  ordered_json out = {{"identical", !r.difference.has_value()},
                      {"messages", r.progress.messages},
                      {"tensors", r.progress.tensors},
                      {"tasks", r.progress.tasks},
                      {"steps", r.progress.steps},
                      {"actors", r.actors},
                      {"recorded_with", r.recording.kernel_set},
                      {"replayed_with", r.kernel_set},
                      {"closed", r.closed},
                      {"bytes", r.bytes},
                      {"stopped_before", r.stopped_before},
                      {"dumped", r.dumped}};
  if (r.difference) out["difference"] = to_json(*r.difference);
  return out;
}

std::string to_text(const engine::ReplayReport& r, bool one_actor) {
  std::string out = fmt::format("recorded {} with {}, replayed with {}\n", r.recording.started,
                                r.recording.kernel_set, r.kernel_set);
  if (one_actor) out += fmt::format("ran {}\n", fmt::join(r.actors, ", "));
  if (!r.closed && r.stopped_before.empty() && !r.difference) {
    out += fmt::format(
        "the recording was not closed: it is followed to its last whole record, at "
        "byte {}\n",
        r.bytes);
  }
  if (r.difference && r.kernel_set != r.recording.kernel_set && r.recording.recipe != "fp32")
    out += "in bf16, kernel sets have bits of their own: replay with the one that recorded\n";
  for (const std::string& file : r.dumped) out += fmt::format("wrote {}\n", file);
  const std::string counts = fmt::format("{} messages, {} tensors, {} steps begun",
                                         r.progress.messages, r.progress.tensors, r.progress.steps);
  if (r.difference) {
    return out + fmt::format("different, after {} that are the same\n{}\n", counts,
                             to_string(*r.difference, "recorded", "replayed"));
  }
  if (!r.stopped_before.empty()) out += fmt::format("stopped before {}\n", r.stopped_before);
  return out + fmt::format("identical ({})\n", counts);
}

ordered_json to_json(const trace::Comparison& c) {
  ordered_json out = {{"identical", !c.difference.has_value()},
                      {"messages", c.messages},
                      {"only_here", c.only_here},
                      {"only_there", c.only_there},
                      {"same_plan", c.here.plan_digest == c.there.plan_digest},
                      {"kernels_here", c.here.kernel_set},
                      {"kernels_there", c.there.kernel_set}};
  if (c.difference) {
    out["difference"] = to_json(*c.difference);
    out["difference"].erase("recorded");
    out["difference"].erase("replayed");
    out["difference"]["here"] = c.difference->here;
    out["difference"]["there"] = c.difference->there;
  }
  return out;
}

std::string to_text(const trace::Comparison& c, const std::string& here, const std::string& there) {
  std::string out;
  for (const auto& [name, recording] : {std::pair(&here, &c.here), std::pair(&there, &c.there)})
    out +=
        fmt::format("{}: recorded {} with {}\n", *name, recording->started, recording->kernel_set);
  if (c.here.plan_digest != c.there.plan_digest)
    out += "their plans differ: actors of the same names are compared\n";
  if (c.difference) {
    return out + fmt::format("different, after {} messages that are the same\n{}\n", c.messages,
                             to_string(*c.difference, "in " + here, "in " + there));
  }
  return out + fmt::format("identical ({} messages in both, {} only in {}, {} only in {})\n",
                           c.messages, c.only_here, here, c.only_there, there);
}

Result<int> compare(const ReplayArguments& arguments) {
  const std::string& here = arguments.compare[0];
  const std::string& there = arguments.compare[1];
  SLUICE_ASSIGN(const trace::Comparison comparison, trace::compare_recordings(here, there));
  SLUICE_TRY(print(arguments.json ? to_json(comparison).dump(1) + "\n"
                                  : to_text(comparison, here, there)));
  return comparison.difference ? 1 : 0;
}

Result<int> replay(ReplayArguments arguments) {
  if (!arguments.compare.empty()) return compare(arguments);
  if (arguments.directory.empty())
    return invalid_input("name a recording, or two with --compare (see sluice replay --help)");
  engine::ReplayOptions& options = arguments.replay;
  options.directory = arguments.directory;
  options.dump = arguments.dump;
  options.sets = arguments.config.sets;
  options.on_stop = stop_here;
  if (isatty(STDERR_FILENO) != 0) {
    options.on_step = [](const host::ReplayHost::Progress& p) {
      fmt::print(stderr, "\r\x1b[Kstep {}, {} messages", p.steps, p.messages);
    };
  }
  auto report = engine::replay(options);
  if (options.on_step) fmt::print(stderr, "\r\x1b[K");
  if (!report) return tl::unexpected(std::move(report).error());
  SLUICE_TRY(print(arguments.json ? to_json(*report).dump(1) + "\n"
                                  : to_text(*report, !options.actor.empty())));
  return report->difference ? 1 : 0;
}

}  // namespace

void add_replay(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<ReplayArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand(
      "replay", "Run a recording again and compare every message; exit code 1 where one differs");
  auto* recording = command->add_option("recording", arguments->directory,
                                        "folder that sluice train --record wrote");
  command
      ->add_option("--compare", arguments->compare,
                   "two recordings: name the first message that differs between them")
      ->expected(2)
      ->excludes(recording);
  auto* actor = command->add_option("--actor", arguments->replay.actor,
                                    "run this actor alone, with whoever the log cannot replace");
  auto* until = command->add_option("--until", arguments->replay.until,
                                    "stop before this message to it, such as \"dispatch of step 3, "
                                    "micro-batch 1, layer 2\" or #17; breaks under a debugger");
  until->needs(actor);
  command->add_option("--dump", arguments->dump, "then write its inputs and parameters here")
      ->needs(until);
  add_set_option(*command, arguments->config);
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &run] { run = [arguments] { return replay(*arguments); }; });
}

}  // namespace sluice
