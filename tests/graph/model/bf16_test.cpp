// The bf16 recipe: its types where they are promised, and losses near those of fp32.
#include <gtest/gtest.h>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/model_cases.hpp"
#include "tests/support/whole_model.hpp"

namespace sluice::test {
namespace {

TEST(Bf16Recipe, WeightsAreCopiesButNormsAndGates) {
  const TestContext context(kernels::best_isa(), 2);
  WholeModel whole(small_config(), model::Recipe::kBf16, context);
  whole.initialize(1);
  for (const auto& [name, p] : whole.parameters()) {
    const bool kept = p->shape.rank() == 1 || name.ends_with("mlp.gate.weight");
    EXPECT_EQ(p->compute.dtype(), kept ? DType::kF32 : DType::kBF16) << name;
    EXPECT_EQ(p->master.dtype(), DType::kF32) << name;
    if (kept) continue;
    const auto master = p->master.values<const float>();
    const auto copy = p->compute.values<const BF16>();
    for (std::size_t i = 0; i < copy.size(); ++i)
      ASSERT_EQ(copy[i].bits, BF16::from_float(master[i]).bits) << name;
  }
  const Outputs outputs = whole.forward(random_tokens(small_config(), 2, 9, 1));
  EXPECT_EQ(outputs.hidden.back().dtype(), DType::kBF16);
  EXPECT_EQ(outputs.logits.dtype(), DType::kF32);
  EXPECT_EQ(outputs.gates.begin()->second.scores.dtype(), DType::kF32);
}

/// Sequences whose next token is a function of the last one, but for one token in five.
Tensor learnable_tokens(const model::ModelConfig& config, std::int64_t sequences,
                        std::int64_t length, std::uint64_t seed) {
  Tensor tokens = random_tokens(config, sequences, length, seed);
  const Random random(seed, RandomPurpose::kTest, 1);
  const auto t = tokens.matrix<std::int32_t>();
  for (std::int64_t s = 0; s < t.rows; ++s) {
    for (std::int64_t i = 1; i < t.columns; ++i) {
      const bool is_noise = random.below(5, static_cast<std::uint64_t>(s * t.columns + i)) == 0;
      if (!is_noise)
        t.row(s)[i] = (t.row(s)[i - 1] * 3 + 1) % static_cast<std::int32_t>(config.vocab_size);
    }
  }
  return tokens;
}

/// Mean of the main loss over every ten of sixty steps.
std::vector<double> losses(const kernels::ComputeContext& context, model::Recipe recipe) {
  const model::ModelConfig config = small_config();
  WholeModel whole(config, recipe, context, 2);
  whole.initialize(7);
  std::vector<double> means;
  for (std::uint64_t step = 0; step < 60; ++step) {
    if (step % 10 == 0) means.push_back(0);
    const Tensor tokens = learnable_tokens(config, 8, 16, step);
    means.back() += whole.train_step(tokens, {.learning_rate = 2e-3f}, 4).losses.main / 10;
  }
  return means;
}

TEST(Bf16Recipe, LossStaysWithinOnePercentOfFp32) {
  TestContext context(kernels::best_isa(), 1);
  const std::vector<double> wide = losses(context, model::Recipe::kFp32);
  EXPECT_LT(wide.back(), 0.6 * wide.front());
  kernels::ComputeContext dots = context;
  dots.bf16 = kernels::bf16_features();
  for (const kernels::ComputeContext& c : {context.get(), dots}) {
    const std::vector<double> narrow = losses(c, model::Recipe::kBf16);
    for (std::size_t i = 0; i < wide.size(); ++i)
      EXPECT_NEAR(narrow[i], wide[i], 0.01 * wide[i]) << "steps " << 10 * i << "...";
  }
}

}  // namespace
}  // namespace sluice::test
