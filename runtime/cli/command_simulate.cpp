// sluice simulate CONFIG: a training step on hardware that is described, not there (--hardware), or
// on this machine by the times of a recording (--from-trace).
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/cli/simulate_recorded.hpp"
#include "runtime/cli/simulate_view.hpp"
#include "runtime/config/hardware_file.hpp"
#include "runtime/config/job.hpp"
#include "runtime/engine/run_recording.hpp"
#include "runtime/engine/settings.hpp"

namespace sluice {
namespace {

struct SimulateArguments {
  ConfigOptions config;
  std::string hardware;
  std::string rates;
  std::string trace;
  std::optional<double> expert_load;
  std::string rows;
  std::string executor = "program";
  std::string record;
  bool what_if = false;
  bool json = false;
};

// "rank=3".
Result<std::int32_t> parse_rows(std::string_view text, std::int32_t ranks) {
  constexpr std::string_view kPrefix = "rank=";
  std::int32_t rank = -1;
  if (text.empty()) return 0;
  if (text.starts_with(kPrefix)) {
    const std::string_view number = text.substr(kPrefix.size());
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
    if (error != std::errc() || end != number.data() + number.size()) rank = -1;
  }
  if (rank < 0 || rank >= ranks) {
    return invalid_input("--rows {:.40}: write rank=R with a pipeline rank from 0 to {}", text,
                         ranks - 1);
  }
  return rank;
}

Status add_what_ifs(SimulationView& view) {
  for (const cost::WhatIf& what_if : cost::what_ifs(view.job, view.hardware)) {
    SLUICE_ASSIGN(const cost::Step step, cost::simulate_step(view.job, what_if.hardware));
    view.what_ifs.push_back({what_if.name, what_if.about, step.seconds});
  }
  return {};
}

// Nothing where no --record is given.
std::optional<engine::RecordTo> record_to(const SimulateArguments& arguments,
                                          const config::Config& config,
                                          const model::ModelConfig& model, std::string device) {
  if (arguments.record.empty()) return std::nullopt;
  engine::RecordTo out{arguments.record, engine::describe_run(config, model, {})};
  if (!device.empty()) {
    out.about.cpu = device;
    out.about.kernel_set = std::move(device);
  }
  return out;
}

Result<int> print_result(const SimulateArguments& arguments, std::string result) {
  if (!arguments.json && !arguments.record.empty())
    result += fmt::format("recorded; look at it with: sluice trace report {}\n", arguments.record);
  return print(result);
}

Result<int> simulate(const SimulateArguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  SLUICE_ASSIGN(const model::ModelConfig model, config::load_model(config));
  SLUICE_TRY(config::check_model(config, model));
  if (!arguments.trace.empty()) {
    SLUICE_ASSIGN(const RecordedPrediction recorded,
                  predict_from_recording(config, model, arguments.trace,
                                         record_to(arguments, config, model, {})));
    return print_result(arguments,
                        arguments.json ? prediction_json(recorded) : prediction_text(recorded));
  }
  if (arguments.hardware.empty()) {
    return invalid_input(
        "say what the step runs on: --hardware FILE, or --from-trace FOLDER of a recorded run");
  }
  SLUICE_ASSIGN(const config::HardwareFile file,
                config::load_hardware(arguments.hardware, arguments.rates));
  SimulationView view;
  view.hardware = file.hardware;
  SLUICE_ASSIGN(view.job, config::job_of(config, model));
  view.load_was_given = arguments.expert_load.has_value();
  view.job.expert_load = arguments.expert_load.value_or(1);
  SLUICE_ASSIGN(view.step, cost::simulate_step(view.job, view.hardware));
  SLUICE_ASSIGN(view.rank,
                parse_rows(arguments.rows, static_cast<std::int32_t>(view.step.ranks.size())));
  if (arguments.what_if) SLUICE_TRY(add_what_ifs(view));
  if (arguments.executor == "actors" || !arguments.record.empty()) {
    SLUICE_ASSIGN(const engine::ClusterOptions options, engine::virtual_options(config, model));
    SLUICE_ASSIGN(view.actors,
                  engine::run_on_hardware(options, view.job, view.hardware, view.step,
                                          record_to(arguments, config, model, view.hardware.name)));
  }
  return print_result(arguments, arguments.json ? simulation_json(view) : simulation_text(view));
}

}  // namespace

void add_simulate(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<SimulateArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand(
      "simulate", "Predict a training step on described hardware: time, parts, memory");
  add_config_options(*command, arguments->config)->required();
  auto* hardware =
      command->add_option("--hardware", arguments->hardware,
                          "a hardware description, such as configs/hardware/h800.toml");
  command
      ->add_option(
          "--from-trace", arguments->trace,
          "folder that sluice train --record wrote: the step on that machine, by its times")
      ->excludes(hardware);
  command->add_option("--rates", arguments->rates,
                      "which of the rate sets beside it: NAME of FILE.NAME.toml; the file's "
                      "default where absent");
  command->add_option("--expert-load", arguments->expert_load,
                      "rows of the expert rank that has most, over the mean; 1 where absent");
  command->add_option("--rows", arguments->rows,
                      "rank=R: whose time is taken apart; rank=0 where absent");
  command
      ->add_option(
          "--executor", arguments->executor,
          "program: timing of the schedule's programs; actors: also the step by its actors")
      ->check(CLI::IsMember({"program", "actors"}))
      ->capture_default_str();
  command->add_option("--record", arguments->record,
                      "record the step of the actors to this folder, for sluice trace");
  command->add_flag("--what-if", arguments->what_if,
                    "also the step on hardware that one would wish for");
  command->add_flag("--json", arguments->json, "as JSON, in seconds and bytes");
  command->footer(
      "Examples:\n"
      "  sluice simulate configs/deepseek_v3.toml --hardware configs/hardware/h800.toml\n"
      "  sluice simulate configs/deepseek_v3.toml --hardware configs/hardware/h800.toml --rates "
      "cutlass --json\n"
      "  sluice simulate configs/deepseek_v3.toml --hardware configs/hardware/h800.toml "
      "--set schedule.name=zb1p --what-if\n"
      "  sluice simulate run.toml --from-trace recording --set schedule.name=zb1p "
      "--set topology.pipeline_parallel_size=4\n");
  command->callback([arguments, &run] { run = [arguments] { return simulate(*arguments); }; });
}

}  // namespace sluice
