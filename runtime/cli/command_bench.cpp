// sluice bench: matrix products and training steps beside the machine's peak, messages, simulation.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "runtime/bench/actors_bench.hpp"
#include "runtime/bench/gemm_bench.hpp"
#include "runtime/bench/sim_bench.hpp"
#include "runtime/bench/train_bench.hpp"
#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/store/hf_config.hpp"

namespace sluice {
namespace {

struct BenchArguments {
  ConfigOptions config;
  bool json = false;
  // gemm
  std::vector<std::string> models;
  std::string filter;
  double seconds = 0.25;
  std::int64_t tokens = 2048;
  // train
  bench::TrainBenchOptions train;
  std::string payloads = "none";
  // actors
  bench::ActorsBenchOptions actors;
  std::string step_model;
  // simulate
  bench::SimBenchOptions simulate;
};

Result<std::vector<bench::GemmTask>> gemm_tasks(const BenchArguments& arguments) {
  std::vector<bench::GemmTask> tasks = bench::cube_tasks();
  for (const std::string& path : arguments.models) {
    SLUICE_ASSIGN(const store::HfConfig model, store::read_hf_config(path));
    const std::string name = std::filesystem::path(path).stem().string();
    const auto own = bench::model_tasks(name, model.model, arguments.tokens);
    tasks.insert(tasks.end(), own.begin(), own.end());
  }
  return tasks;
}

Result<int> bench_gemm(const BenchArguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  if (config.precision.recipe == "fp8") {
    return invalid_input("{} is fp8, which is simulated only; use fp32 or bf16",
                         config.where("precision.recipe"));
  }
  SLUICE_ASSIGN(const device::CpuDevice::Config device_config, engine::device_config(config));
  SLUICE_ASSIGN(const std::vector<bench::GemmTask> tasks, gemm_tasks(arguments));
  device::CpuDevice device(device_config);
  bench::GemmBenchOptions options;
  options.operands = config.precision.recipe == "bf16" ? DType::kBF16 : DType::kF32;
  options.filter = arguments.filter;
  options.seconds_a_row = arguments.seconds;
  const bench::GemmBenchReport report = bench::run_gemm_bench(device.context(), tasks, options);
  if (arguments.json) return print(bench::to_json(report).dump(1) + "\n");
  return print(kernels::cpu_description() + "\n" + bench::to_table(report));
}

// The published comparison: 8 sequences of 256 tokens a step, one micro-batch of all. --set comes
// later and wins.
ConfigOptions published_step(ConfigOptions options) {
  options.sets.insert(
      options.sets.begin(),
      {"train.micro_batch_size=8", "train.global_batch_size=8", "train.sequence_length=256"});
  return options;
}

Result<int> bench_train(BenchArguments arguments) {
  SLUICE_ASSIGN(arguments.train.payloads, trace::payloads_from_name(arguments.payloads));
  SLUICE_ASSIGN(const config::Config config, published_step(arguments.config).load());
  SLUICE_ASSIGN(const bench::TrainBenchReport report,
                bench::run_train_bench(config, arguments.train));
  return print(arguments.json ? bench::to_json(report).dump() + "\n" : bench::to_table(report));
}

Result<int> bench_actors(const BenchArguments& arguments) {
  SLUICE_ASSIGN(bench::ActorsBenchReport report, bench::run_actors_bench(arguments.actors));
  if (!arguments.step_model.empty()) {
    ConfigOptions options = arguments.config;
    options.sets.insert(options.sets.begin(), "model.config=" + arguments.step_model);
    SLUICE_ASSIGN(const config::Config config, published_step(options).load());
    bench::TrainBenchOptions train = arguments.train;
    train.profile = true;
    SLUICE_ASSIGN(report.step, bench::run_train_bench(config, train));
  }
  if (arguments.json) return print(bench::to_json(report).dump() + "\n");
  return print(kernels::cpu_description() + "\n" + bench::to_table(report));
}

Result<int> bench_simulate(const BenchArguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  SLUICE_ASSIGN(const bench::SimBenchReport report,
                bench::run_sim_bench(config, arguments.simulate));
  return print(arguments.json ? bench::to_json(report).dump() + "\n" : bench::to_table(report));
}

void add_gemm(CLI::App& bench, const std::shared_ptr<BenchArguments>& arguments, CommandRun& run) {
  auto* command = bench.add_subcommand(
      "gemm", "Matrix products: cubes and the shapes of models, as shares of the peak");
  command->add_option("--model", arguments->models,
                      "config.json whose shapes to measure; may be given again");
  command->add_option("--tokens", arguments->tokens, "rows of the models' products")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--filter", arguments->filter, "only rows whose name contains this");
  command->add_option("--seconds", arguments->seconds, "time for each row")
      ->check(CLI::Range(0.01, 60.0))
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "as JSON");
  add_set_option(*command, arguments->config);
  command->callback([arguments, &run] { run = [arguments] { return bench_gemm(*arguments); }; });
}

void add_bench_train(CLI::App& bench, const std::shared_ptr<BenchArguments>& arguments,
                     CommandRun& run) {
  auto* command = bench.add_subcommand(
      "train", "Training steps on random tokens: tokens a second and where the time goes");
  add_config_options(*command, arguments->config);
  command->add_option("--steps", arguments->train.steps, "timed steps, after two to warm up")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--profile", arguments->train.profile,
                    "split the time by kernel and by waiting");
  auto* record = command->add_option("--record", arguments->train.record,
                                     "record every second step here and say what that costs");
  command->add_option("--payloads", arguments->payloads, "of the recording: none, boundary, all")
      ->needs(record);
  command->add_flag("--json", arguments->json, "one JSON object");
  command->callback([arguments, &run] { run = [arguments] { return bench_train(*arguments); }; });
}

void add_actors(CLI::App& bench, const std::shared_ptr<BenchArguments>& arguments,
                CommandRun& run) {
  auto* command = bench.add_subcommand(
      "actors", "Messages between actors, beside a ping-pong of two plain CAF actors");
  command->add_option("--messages", arguments->actors.messages, "in one run")
      ->check(CLI::Range(1000, 100'000'000))
      ->capture_default_str();
  command->add_option("--rounds", arguments->actors.rounds, "runs of each kind, in turns")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--threads", arguments->actors.threads, "that run actors")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--model", arguments->step_model,
                      "config.json of a model: measure what actors cost in its training step too");
  command->add_option("--steps", arguments->train.steps, "timed steps of the model")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON object");
  add_set_option(*command, arguments->config);
  command->callback([arguments, &run] { run = [arguments] { return bench_actors(*arguments); }; });
}

void add_bench_simulate(CLI::App& bench, const std::shared_ptr<BenchArguments>& arguments,
                        CommandRun& run) {
  auto* command = bench.add_subcommand(
      "simulate", "The config's actors in virtual time without task bodies: events a second");
  add_config_options(*command, arguments->config)->required();
  command
      ->add_option("--rounds", arguments->simulate.rounds, "runs of each size; the fastest counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON object");
  command->callback(
      [arguments, &run] { run = [arguments] { return bench_simulate(*arguments); }; });
}

}  // namespace

void add_bench(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<BenchArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand("bench", "Measure this machine and what Sluice makes of it");
  command->require_subcommand(1);
  add_gemm(*command, arguments, run);
  add_bench_train(*command, arguments, run);
  add_actors(*command, arguments, run);
  add_bench_simulate(*command, arguments, run);
}

}  // namespace sluice
