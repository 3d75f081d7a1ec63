// sluice simulate CONFIG --hardware FILE: a training step on hardware that is described, not there.
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/cli/simulate_view.hpp"
#include "runtime/config/hardware_file.hpp"
#include "runtime/config/job.hpp"

namespace sluice {
namespace {

struct Arguments {
  ConfigOptions config;
  std::string hardware;
  std::string rates;
  std::optional<double> expert_load;
  std::string rows;
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

Result<int> simulate(const Arguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  SLUICE_ASSIGN(const model::ModelConfig model, config::load_model(config));
  SLUICE_TRY(config::check_model(config, model));
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
  const std::string text = arguments.json ? simulation_json(view) : simulation_text(view);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0 ? Result<int>(0) : failed("cannot write to standard output");
}

}  // namespace

void add_simulate(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<Arguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand(
      "simulate", "Predict a training step on described hardware: time, parts, memory");
  add_config_options(*command, arguments->config)->required();
  command
      ->add_option("--hardware", arguments->hardware,
                   "a hardware description, such as configs/hardware/h800.toml")
      ->required();
  command->add_option("--rates", arguments->rates,
                      "which of the rate sets beside it: NAME of FILE.NAME.toml; the file's "
                      "default where absent");
  command->add_option("--expert-load", arguments->expert_load,
                      "rows of the expert rank that has most, over the mean; 1 where absent");
  command->add_option("--rows", arguments->rows,
                      "rank=R: whose time is taken apart; rank=0 where absent");
  command->add_flag("--what-if", arguments->what_if,
                    "also the step on hardware that one would wish for");
  command->add_flag("--json", arguments->json, "as JSON, in seconds and bytes");
  command->footer(
      "Examples:\n"
      "  sluice simulate configs/deepseek_v3.toml --hardware configs/hardware/h800.toml\n"
      "  sluice simulate configs/deepseek_v3.toml --hardware configs/hardware/h800.toml --rates "
      "cutlass --json\n"
      "  sluice simulate configs/deepseek_v3.toml --hardware configs/hardware/h800.toml "
      "--set schedule.name=zb1p --what-if\n");
  command->callback([arguments, &run] { run = [arguments] { return simulate(*arguments); }; });
}

}  // namespace sluice
