// Tensor memory of a training step: as the summary predicts it, and the same from step to step.
#include <gtest/gtest.h>

#include "graph/model/summary.hpp"
#include "tests/support/measuring_allocator.hpp"
#include "tests/support/model_cases.hpp"
#include "tests/support/whole_model.hpp"

namespace sluice::test {
namespace {

model::ModelConfig wide_config() {
  model::ModelConfig c = small_config();
  c.vocab_size = 320;
  c.hidden_size = 128;
  c.intermediate_size = 256;
  c.moe_intermediate_size = 64;
  c.num_attention_heads = 4;
  c.kv_lora_rank = 32;
  c.q_lora_rank = 48;
  c.qk_rope_head_dim = 16;
  c.qk_nope_head_dim = 32;
  c.v_head_dim = 32;
  c.max_position_embeddings = 256;
  return c;
}

class MemoryTest : public testing::TestWithParam<model::Recipe> {
 protected:
  [[nodiscard]] kernels::ComputeContext context() {
    return {.isa = kernels::best_isa(), .bf16 = {}, .team = &team_, .allocator = &allocator_};
  }
  kernels::ThreadTeam team_{2};
  MeasuringAllocator allocator_;
};

TEST_P(MemoryTest, SummaryPredictsTheStep) {
  const model::ModelConfig config = wide_config();
  const std::int64_t sequences = 4, length = 128, tokens = sequences * length;
  WholeModel whole(config, GetParam(), context());
  whole.initialize(1);
  (void)whole.train_step(random_tokens(config, sequences, length, 1), {}, sequences);
  allocator_.reset_peak();
  (void)whole.train_step(random_tokens(config, sequences, length, 2), {}, sequences);

  const graph::ModelSummary s =
      model::summarize(config, GetParam(), length, model::ParameterUse::kTraining, context());
  std::int64_t packed = 0, kept = 0;
  for (const graph::UnitSummary& unit : s.units) {
    packed += unit.packed_bytes + config.n_routed_experts * unit.expert_packed_bytes;
    kept += tokens * (unit.saved_bytes_per_token +
                      config.num_experts_per_tok * unit.expert_saved_bytes_per_row);
  }
  EXPECT_EQ(allocator_.live(), packed);
  const double predicted = static_cast<double>(packed + kept + tokens * s.scratch_bytes_per_token);
  EXPECT_NEAR(static_cast<double>(allocator_.peak()) / predicted, 1.0, 0.1);
}

TEST_P(MemoryTest, SummaryCountsTheParameters) {
  const model::ModelConfig config = wide_config();
  WholeModel whole(config, GetParam(), context());
  std::int64_t count = 0, bytes = 0;
  for (const auto& [name, p] : whole.parameters()) {
    count += p->shape.count();
    bytes += static_cast<std::int64_t>(p->compute.size_bytes());
  }
  const graph::ModelSummary s = model::summarize(config, GetParam(), 128);
  EXPECT_EQ(s.parameters(), count);
  EXPECT_NEAR(static_cast<double>(bytes), s.weight_bytes * static_cast<double>(count),
              0.02 * static_cast<double>(bytes));
}

// A pool that keeps freed blocks by size never grows after the second step, whatever the routing.
TEST_P(MemoryTest, StepsTakeTheSameBlocks) {
  const model::ModelConfig config = small_config();
  WholeModel whole(config, GetParam(), context(), 3);
  whole.initialize(1);
  for (std::uint64_t step = 0; step < 2; ++step)
    (void)whole.train_step(random_tokens(config, 4, 16, step), {}, 2);
  const auto blocks = allocator_.peak_by_size();
  for (std::uint64_t step = 2; step < 8; ++step)
    (void)whole.train_step(random_tokens(config, 4, 16, step), {.learning_rate = 0.05f}, 2);
  EXPECT_EQ(allocator_.peak_by_size(), blocks);
}

INSTANTIATE_TEST_SUITE_P(Recipes, MemoryTest,
                         testing::Values(model::Recipe::kFp32, model::Recipe::kBf16),
                         [](const auto& info) {
                           return info.param == model::Recipe::kFp32 ? "fp32" : "bf16";
                         });

}  // namespace
}  // namespace sluice::test
