// Random tokens, a small model, and a simulated host that can be looked into.
#include "tests/runtime/engine/training_support.hpp"

#include "runtime/engine/load.hpp"

namespace sluice::engine {

Status RandomReader::read(actors::StepMode mode, std::int64_t index, std::int32_t micro_batch,
                          Tensor tokens) {
  auto seed = static_cast<std::uint64_t>(index * 1000 + micro_batch) * 2 +
              (mode == actors::StepMode::kTrain ? 1 : 0);
  for (std::int32_t& id : tokens.values<std::int32_t>()) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    id = static_cast<std::int32_t>((seed >> 33) % static_cast<std::uint64_t>(vocab_size_));
  }
  return {};
}

model::ModelConfig small_model() {
  model::ModelConfig c;
  c.vocab_size = 96;
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.moe_intermediate_size = 16;
  c.num_hidden_layers = 4;
  c.num_attention_heads = 2;
  c.n_shared_experts = 1;
  c.n_routed_experts = 8;
  c.kv_lora_rank = 12;
  c.q_lora_rank = 16;
  c.qk_rope_head_dim = 4;
  c.qk_nope_head_dim = 8;
  c.v_head_dim = 8;
  c.n_group = 4;
  c.topk_group = 2;
  c.num_experts_per_tok = 2;
  c.first_k_dense_replace = 1;
  c.max_position_embeddings = 512;
  c.num_nextn_predict_layers = 1;
  return c;
}

ClusterOptions small_training(RandomReader& reader) {
  ClusterOptions options;
  options.model = small_model();
  options.plan.micro_batches = 4;
  options.plan.micro_batch_size = 2;
  options.plan.sequence_length = 24;
  options.device.isa = kernels::best_isa();
  options.reader = &reader;
  return options;
}

Result<std::unique_ptr<Cluster>> start_training(const ClusterOptions& options) {
  SLUICE_ASSIGN(auto cluster, Cluster::create(options));
  SLUICE_TRY(initialize_weights(*cluster, options.model, 1));
  SLUICE_TRY(cluster->start());
  return cluster;
}

Result<std::vector<actors::StepReport>> run_steps(Cluster& cluster, std::int64_t first,
                                                  std::int64_t last) {
  std::vector<actors::StepReport> reports;
  cluster.command(actors::RunTraining{first, last});
  for (;;) {
    SLUICE_ASSIGN(const actors::Message message, cluster.receive());
    if (const auto* report = std::get_if<actors::StepReport>(&message.body))
      reports.push_back(*report);
    if (std::holds_alternative<actors::Idle>(message.body)) return reports;
  }
}

void WatchedHost::add(graph::ActorIndex index, const graph::ActorPlan& place,
                      std::unique_ptr<actors::Actor> actor) {
  if (const auto* channel = dynamic_cast<const actors::Channel*>(actor.get()))
    channels_.emplace(index, channel);
  graph::ActorPlan where = place;
  constexpr std::int32_t kApart = 1000;
  if (expert_lanes_ && place.kind == graph::ActorKind::kExpertGroup) where.rank += kApart;
  sim_.add(index, where, std::move(actor));
}

}  // namespace sluice::engine
