// sluice plan: actors, channels, programs and memory of a config, before anything runs.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/cli/cli.hpp"
#include "runtime/cli/config_options.hpp"
#include "runtime/engine/settings.hpp"

namespace sluice {
namespace {

using nlohmann::ordered_json;

struct PlanArguments {
  ConfigOptions config;
  bool json = false;
};

ordered_json to_json(const graph::Plan& plan) {
  ordered_json out;
  const auto name = [&](graph::ActorIndex actor) {
    return plan.actors[static_cast<std::size_t>(actor)].name;
  };
  for (std::size_t a = 0; a < plan.actors.size(); ++a) {
    const graph::ActorPlan& actor = plan.actors[a];
    out["actors"].push_back({{"index", a},
                             {"kind", graph::name_of(actor.kind)},
                             {"name", actor.name},
                             {"rank", actor.rank}});
  }
  for (const graph::ChannelPlan& channel : plan.channels) {
    out["channels"].push_back({{"actor", channel.actor},
                               {"from", name(channel.from)},
                               {"to", name(channel.to)},
                               {"role", graph::name_of(channel.role)},
                               {"credits", channel.credits},
                               {"message_bytes", channel.message_bytes}});
  }
  for (const graph::StagePlan& stage : plan.stages) {
    ordered_json chunks;
    for (const graph::ChunkPlan& chunk : stage.chunks) {
      chunks.push_back({{"stage", chunk.stage},
                        {"route", chunk.route},
                        {"layer_first", chunk.layer_first},
                        {"layer_last", chunk.layer_last},
                        {"embedding", chunk.is_first},
                        {"head", chunk.is_last}});
    }
    out["stages"].push_back(
        {{"pipeline_rank", stage.pipeline_rank},
         {"chunks", chunks},
         {"activation_buffers_needed", stage.activation_buffers_needed},
         {"activation_credits", stage.activation_credits},
         {"program", graph::to_string(stage.program, plan.placement, stage.pipeline_rank)}});
  }
  for (std::size_t rank = 0; rank < plan.memory.size(); ++rank) {
    const graph::RankMemory& m = plan.memory[rank];
    out["memory"].push_back({{"rank", rank},
                             {"weights", m.weights},
                             {"master", m.master},
                             {"gradients", m.gradients},
                             {"optimizer", m.optimizer},
                             {"activations", m.activations},
                             {"buffers", m.buffers},
                             {"snapshots", m.snapshots},
                             {"total", m.total()}});
  }
  return out;
}

Result<int> plan(const PlanArguments& arguments) {
  SLUICE_ASSIGN(const config::Config config, arguments.config.load());
  SLUICE_ASSIGN(const model::ModelConfig model, config::load_model(config));
  SLUICE_TRY(config::check_model(config, model));
  SLUICE_ASSIGN(engine::ClusterOptions options, engine::cluster_options(config, model));
  options.supervisor.checkpoint_at_end = true;  // as `sluice train` has it
  SLUICE_ASSIGN(const graph::Plan made, engine::plan_of(options));
  return print(arguments.json ? to_json(made).dump(1) + "\n" : graph::to_string(made));
}

}  // namespace

void add_plan(CLI::App& app, CommandRun& run) {
  const auto arguments = std::make_shared<PlanArguments>();  // outlives the callback's caller
  auto* command =
      app.add_subcommand("plan", "Show actors, channels, programs and memory of a config");
  add_config_options(*command, arguments->config)->required();
  command->add_flag("--json", arguments->json, "as JSON, sizes in bytes");
  command->callback([arguments, &run] { run = [arguments] { return plan(*arguments); }; });
}

}  // namespace sluice
