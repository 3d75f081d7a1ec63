// sluice probe: everything a model computes on given tokens, for comparing implementations.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/engine/probe.hpp"
#include "runtime/engine/settings.hpp"
#include "runtime/host/sim_host.hpp"

namespace sluice {
namespace {

using nlohmann::ordered_json;

struct ProbeArguments {
  ConfigOptions config;
  std::string checkpoint, tokens, out;
  bool backward = false;
  std::int64_t steps = 0;
  std::optional<std::uint64_t> simulate;
};

// What expected.json of the reference data was made with.
const std::vector<std::string> kDefaults{
    "train.balance_alpha=0.01",  "train.mtp_lambda=0.3",          "train.bias_gamma=0.001",
    "train.learning_rate=0.001", "train.minimum_learning_rate=0", "train.constant_steps=1000000000",
    "train.warmup_steps=0",      "train.adam_beta1=0.9",          "train.adam_beta2=0.95",
    "train.adam_epsilon=1e-8",   "train.weight_decay=0.1",        "train.clip_norm=1.0"};

Result<Tensor> read_tokens(const store::SafetensorsFile& file, const std::string& name) {
  SLUICE_ASSIGN(Tensor tokens, file.read(name));
  if (tokens.dtype() != DType::kI32 || tokens.shape().rank() != 2 || tokens.shape()[0] < 1) {
    return invalid_input(
        "{}: \"{}\" is {} {}, but token ids are I32 [sequences, length + 1 + mtp depth]",
        file.path().string(), name, name_of(tokens.dtype()), tokens.shape().to_string());
  }
  return tokens;
}

Status check_ids(const Tensor& tokens, const std::string& name, std::int64_t vocab_size) {
  for (const std::int32_t id : tokens.values<std::int32_t>()) {
    if (id < 0 || id >= vocab_size) {
      return invalid_input("\"{}\" holds token {}, but the model's vocab_size is {}", name, id,
                           vocab_size);
    }
  }
  return {};
}

Result<std::vector<Tensor>> read_steps(const store::SafetensorsFile& file, std::int64_t count,
                                       const Shape& shape, std::int64_t vocab_size) {
  std::vector<Tensor> out;
  for (std::int64_t s = 0; s < count; ++s) {
    const std::string name = fmt::format("train.{}.tokens", s);
    if (!file.contains(name)) {
      return invalid_input("{}: has no \"{}\"; --steps {} needs train.0.tokens to train.{}.tokens",
                           file.path().string(), name, count, count - 1);
    }
    SLUICE_ASSIGN(Tensor step, read_tokens(file, name));
    if (step.shape() != shape) {
      return invalid_input("{}: \"{}\" is {}, but \"tokens\" is {}", file.path().string(), name,
                           step.shape().to_string(), shape.to_string());
    }
    SLUICE_TRY(check_ids(step, name, vocab_size));
    out.push_back(std::move(step));
  }
  return out;
}

ordered_json to_json(const actors::StepReport& report) {
  ordered_json out;
  out["main"] = report.main;
  out["mtp"] = report.mtp;
  out["balance"] = report.balance;
  out["total"] = report.total;
  if (report.mode == actors::StepMode::kTrain) out["grad_norm"] = report.gradient_norm;
  ordered_json violations = ordered_json::object();
  for (const actors::StepReport::Layer& layer : report.layers) {
    violations[std::to_string(layer.layer)] = layer.max_violation;
  }
  out["max_violation"] = std::move(violations);
  return out;
}

ordered_json to_json(const engine::ProbeResult& result) {
  ordered_json out = to_json(result.batch);
  out["train"] = ordered_json::array();
  for (const actors::StepReport& step : result.steps) out["train"].push_back(to_json(step));
  if (!result.notes.empty()) out["notes"] = result.notes;
  return out;
}

Result<engine::ProbeOptions> probe_options(const ProbeArguments& arguments,
                                           const store::CheckpointReader& checkpoint) {
  std::vector<std::string> sets = kDefaults;
  sets.insert(sets.end(), arguments.config.sets.begin(), arguments.config.sets.end());
  SLUICE_ASSIGN(const store::SafetensorsFile file, store::SafetensorsFile::open(arguments.tokens));
  if (!file.contains("tokens"))
    return invalid_input("{}: has no tensor \"tokens\"", arguments.tokens);
  engine::ProbeOptions options;
  SLUICE_ASSIGN(options.tokens, read_tokens(file, "tokens"));
  sets.push_back(fmt::format("train.global_batch_size={}", options.tokens.shape()[0]));

  SLUICE_ASSIGN(const config::Config early, config::load_config("", sets));
  SLUICE_ASSIGN(const model::ModelConfig model,
                config::apply_overrides(early, checkpoint.config().model));
  const std::int64_t length = options.tokens.shape()[1] - 1 - model.num_nextn_predict_layers;
  if (length < 1) {
    return invalid_input("{}: \"tokens\" {} is too short: a sequence needs 1 + 1 + {} tokens",
                         arguments.tokens, options.tokens.shape().to_string(),
                         model.num_nextn_predict_layers);
  }
  sets.push_back(fmt::format("train.sequence_length={}", length));
  SLUICE_ASSIGN(const config::Config config, config::load_config("", sets));
  SLUICE_TRY(config::check_model(config, model));
  SLUICE_TRY(check_ids(options.tokens, "tokens", model.vocab_size));
  SLUICE_ASSIGN(options.steps,
                read_steps(file, arguments.steps, options.tokens.shape(), model.vocab_size));
  SLUICE_ASSIGN(options.cluster, engine::cluster_options(config, model));
  options.backward = arguments.backward;
  options.greedy_prompt =
      static_cast<std::int32_t>(std::min<std::int64_t>(8, options.tokens.shape()[1]));
  options.greedy_tokens = 24;
  return options;
}

Result<int> probe(const ProbeArguments& arguments) {
  SLUICE_ASSIGN(const store::CheckpointReader checkpoint,
                store::CheckpointReader::open(arguments.checkpoint));
  SLUICE_ASSIGN(engine::ProbeOptions options, probe_options(arguments, checkpoint));
  if (arguments.simulate) {
    options.cluster.host = [seed = *arguments.simulate](device::CpuDevice& device) {
      host::SimHost::Config config;
      config.seed = seed;
      config.compute = device.context();
      return std::make_unique<host::SimHost>(std::move(config));
    };
  }
  SLUICE_ASSIGN(const engine::ProbeResult result, engine::probe(checkpoint, std::move(options)));
  SLUICE_TRY(store::write_safetensors(arguments.out, result.tensors));
  return print(to_json(result).dump(1) + "\n");
}

}  // namespace

void add_probe(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<ProbeArguments>();  // outlives the callback's caller
  auto* command = app.add_subcommand("probe",
                                     "Run a checkpoint on given tokens and write every hidden "
                                     "state, logit, gate, gradient and updated weight");
  command->add_option("checkpoint", arguments->checkpoint, "a Hugging Face deepseek_v3 folder")
      ->required();
  command
      ->add_option("--tokens", arguments->tokens,
                   "safetensors file with \"tokens\" I32 [B, T + 1 + mtp depth], and "
                   "train.S.tokens for --steps")
      ->required();
  command->add_option("--out", arguments->out, "safetensors file to write")->required();
  command->add_flag("--backward", arguments->backward, "also gradients of the batch (grad.NAME)");
  command
      ->add_option("--steps", arguments->steps,
                   "train this many steps from the checkpoint (after.NAME)")
      ->check(CLI::Range(0, 1 << 20));
  command->add_option(
      "--simulate", arguments->simulate,
      "run the actors in virtual time, with an order of delivery drawn from this seed");
  add_set_option(*command, arguments->config);
  command->callback([arguments, &run] { run = [arguments] { return probe(*arguments); }; });
}

}  // namespace sluice
