// Weights by chunk, activations by what the programs keep at once, channels at full credit.
#include "graph/plan_memory.hpp"

#include <algorithm>
#include <bit>

namespace sluice::graph {
namespace {

class Measure {
 public:
  Measure(const Plan& plan, const ModelSummary& model)
      : plan_(plan), model_(model), memory_(static_cast<std::size_t>(plan.ranks())) {}

  std::vector<RankMemory> run() {
    for (const StagePlan& stage : plan_.stages) {
      measure_weights(stage);
      measure_activations(stage);
      measure_scratch(stage);
    }
    for (const ChannelPlan& channel : plan_.channels) measure_channel(channel);
    return std::move(memory_);
  }

 private:
  const PlanOptions& options() const { return plan_.options; }
  std::int64_t tokens() const {
    return std::int64_t{options().micro_batch_size} * options().sequence_length;
  }
  std::int64_t experts_of_a_group() const {
    return model_.n_routed_experts / options().expert_parallel_size;
  }
  RankMemory& rank(const StagePlan& stage, std::int32_t expert_rank = 0) {
    return memory_[static_cast<std::size_t>(stage.pipeline_rank * options().expert_parallel_size +
                                            expert_rank)];
  }

  std::vector<const UnitSummary*> units_of(const ChunkPlan& chunk) const {
    std::vector<const UnitSummary*> units;
    const auto add_unit = [&](std::size_t index) { units.push_back(&model_.units[index]); };
    if (chunk.is_first) add_unit(0);
    for (std::int32_t l = chunk.layer_first; l < chunk.layer_last; ++l)
      add_unit(static_cast<std::size_t>(l) + 1);
    if (chunk.is_last) {
      const auto layers = static_cast<std::size_t>(layer_count(model_));
      for (std::size_t u = layers + 1; u < model_.units.size(); ++u) add_unit(u);
    }
    return units;
  }

  // Sums of earlier parts that wait for their place in the tree: one for each bit that is set in
  // the number of parts that are done.
  std::int64_t gradient_copies() const {
    const auto routes = static_cast<std::int32_t>(plan_.placement.routes().size());
    const auto parts = static_cast<std::uint32_t>(std::max(1, options().gradient_shards / routes));
    int most = 0;
    for (std::uint32_t done = 1; done < parts; ++done) most = std::max(most, std::popcount(done));
    return 1 + most;
  }

  void add_parameters(RankMemory& memory, std::int64_t count, std::int64_t packed_bytes) const {
    const auto n = static_cast<double>(count);
    memory.weights += static_cast<std::int64_t>(n * model_.weight_bytes) + packed_bytes;
    memory.master += static_cast<std::int64_t>(n * model_.master_bytes);
    if (!options().training) return;
    memory.gradients += static_cast<std::int64_t>(n * model_.gradient_bytes) * gradient_copies();
    memory.optimizer += static_cast<std::int64_t>(n * model_.optimizer_bytes);
    if (!options().checkpoints) return;
    memory.snapshots += static_cast<std::int64_t>(n * (sizeof(float) + model_.optimizer_bytes));
  }

  void measure_weights(const StagePlan& stage) {
    for (const ChunkPlan& chunk : stage.chunks) {
      for (const UnitSummary* unit : units_of(chunk)) {
        add_parameters(rank(stage), unit->parameters, unit->packed_bytes);
        if (unit->expert_parameters == 0) continue;
        for (std::int32_t e = 0; e < options().expert_parallel_size; ++e) {
          add_parameters(rank(stage, e), unit->expert_parameters * experts_of_a_group(),
                         unit->expert_packed_bytes * experts_of_a_group());
        }
      }
    }
  }

  // What chunks keep of a micro-batch on the rank of the stage, and on each rank of its experts.
  void measure_activations(const StagePlan& stage) {
    if (!options().training) return;
    const std::int64_t rows = std::min(model_.num_experts_per_tok, experts_of_a_group());
    std::vector<std::int64_t> groups, both;
    for (const ChunkPlan& chunk : stage.chunks) {
      std::int64_t dense = 0, routed = 0;
      for (const UnitSummary* unit : units_of(chunk)) {
        dense += tokens() * unit->saved_bytes_per_token;
        routed += tokens() * rows * unit->expert_saved_bytes_per_row;
      }
      groups.push_back(routed);
      both.push_back(dense + routed);
    }
    rank(stage).activations += kept_activations_max(stage.program, both);
    for (std::int32_t e = 1; e < options().expert_parallel_size; ++e)
      rank(stage, e).activations += kept_activations_max(stage.program, groups);
  }

  void measure_scratch(const StagePlan& stage) {
    const bool has_head = std::any_of(stage.chunks.begin(), stage.chunks.end(),
                                      [](const ChunkPlan& chunk) { return chunk.is_last; });
    const std::int64_t logits =
        std::min(tokens() * model_.logits_bytes_per_token, model_.logits_bytes_max);
    // The sum: blocks that held logits are too large for what a layer asks for, and stay.
    rank(stage).buffers += tokens() * model_.scratch_bytes_per_token + (has_head ? logits : 0);
  }

  // Inside a process a waiting message refers to a tensor that its sender counts already.
  void measure_channel(const ChannelPlan& channel) {
    const std::int32_t to = plan_.actors[static_cast<std::size_t>(channel.to)].rank;
    if (to == plan_.actors[static_cast<std::size_t>(channel.from)].rank) return;
    memory_[static_cast<std::size_t>(to)].buffers += channel.credits * channel.message_bytes;
  }

  const Plan& plan_;
  const ModelSummary& model_;
  std::vector<RankMemory> memory_;
};

}  // namespace

std::vector<RankMemory> measure_memory(const Plan& plan, const ModelSummary& model) {
  return Measure(plan, model).run();
}

}  // namespace sluice::graph
