// The bf16 recipe: its types where they are promised, sums that are fp32 also in their values,
// gradients near those of fp32. (tests/runtime/cli/recipe_test.cpp compares losses.)
#include <gtest/gtest.h>

#include <cmath>

#include "graph/model/ends.hpp"
#include "tests/support/compute_contexts.hpp"
#include "tests/support/directional_gradient.hpp"
#include "tests/support/model_cases.hpp"
#include "tests/support/tensor_comparator.hpp"
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
    for (const Tensor* sums : {&p->gradient, &p->m, &p->v}) {
      EXPECT_TRUE(sums->empty() || sums->dtype() == DType::kF32) << name;
    }
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

constexpr Tolerance kFp32{.absolute = 1e-5, .relative = 1e-5, .row = 1e-5};

/// x · Wᵀ in fp64.
std::vector<double> product(const Tensor& x, const Tensor& weight) {
  const std::vector<double> a = to_doubles(x.view()), b = to_doubles(weight.view());
  const auto k = static_cast<std::size_t>(x.shape().columns());
  std::vector<double> y;
  for (std::size_t row = 0; row < a.size(); row += k) {
    for (std::size_t column = 0; column < b.size(); column += k) {
      double sum = 0;
      for (std::size_t i = 0; i < k; ++i) sum += a[row + i] * b[column + i];
      y.push_back(sum);
    }
  }
  return y;
}

/// Cross entropies of rows of logits, summed, where every target is token 0.
double loss_of_token_0(const std::vector<double>& logits, std::int64_t vocab_size) {
  double loss = 0;
  for (auto row = logits.begin(); row != logits.end(); row += vocab_size) {
    double sum = 0;
    for (auto logit = row; logit != row + vocab_size; ++logit) sum += std::exp(*logit);
    loss += std::log(sum) - *row;
  }
  return loss;
}

Tensor random_bf16(Shape shape, std::uint64_t seed) {
  const Tensor wide = random_tensor(shape, seed);
  Tensor narrow = Tensor::zeros(DType::kBF16, shape);
  const auto to = narrow.values<BF16>();
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = BF16::from_float(wide.values<float>()[i]);
  return narrow;
}

TEST(Bf16Recipe, GateMultipliesMasterWeightsAndRoundsNothing) {
  const TestContext context(kernels::best_isa(), 1);
  const model::ModelConfig config = small_config();
  const auto constants = model::make_constants(config, model::Recipe::kBf16, 16);
  model::ParameterSet set(model::Recipe::kBf16, model::ParameterUse::kTraining);
  model::DecoderLayer layer(constants, config.num_hidden_layers - 1, set);
  ASSERT_TRUE(layer.is_moe());
  set.initialize(config, 1);
  set.refresh_compute(context);
  const auto saved = model::DecoderLayer::make_saved();
  const auto attended =
      layer.attention_forward(context, model::make_batch(2, 5),
                              random_bf16(Shape{10, config.hidden_size}, 1), false, *saved);
  const model::Parameter* gate = set.find("model.layers.2.mlp.gate.weight");
  ASSERT_NE(gate, nullptr);
  std::vector<double> scores = product(attended.normed, gate->master);
  for (double& score : scores) score = 1 / (1 + std::exp(-score));
  EXPECT_TRUE(all_close(scores, attended.routing.scores.view(), kFp32));
}

TEST(Bf16Recipe, LogitsAndLossAreSumsThatNothingRounds) {
  TestContext context(kernels::best_isa(), 1);
  kernels::ComputeContext dots = context;
  dots.bf16 = kernels::bf16_features();
  const model::ModelConfig config = small_config();
  const auto constants = model::make_constants(config, model::Recipe::kBf16, 16);
  for (const kernels::ComputeContext& c : {context.get(), dots}) {
    model::ParameterSet set(model::Recipe::kBf16, model::ParameterUse::kInference);
    model::Head head(constants, set);
    set.initialize(config, 1);
    set.refresh_compute(c);
    const Tensor h = random_bf16(Shape{9, config.hidden_size}, 2);
    const std::vector<double> logits = product(h, set.all()[0].compute);
    EXPECT_TRUE(all_close(logits, head.logits(c, h).view(), kFp32));
    const Tensor targets = Tensor::zeros(DType::kI32, Shape{9});
    EXPECT_NEAR(head.loss(c, h, targets, false, 0).sum, loss_of_token_0(logits, config.vocab_size),
                1e-4);
  }
}

/// Gradients of the losses on `tokens`, by parameter name.
std::map<std::string, Tensor> gradients(const kernels::ComputeContext& context,
                                        const model::ModelConfig& config, model::Recipe recipe,
                                        const Tensor& tokens, std::int64_t micro_batch) {
  WholeModel whole(config, recipe, context, 2);
  whole.initialize(7);
  (void)whole.forward_backward(tokens, {}, micro_batch);
  std::map<std::string, Tensor> out;
  for (const auto& [name, p] : whole.parameters())
    if (!p->gradient.empty()) out.emplace(name, p->gradient.slice(0, p->shape[0]));
  return out;
}

double norm(const Tensor& t) { return std::sqrt(dot(t, t)); }

double distance(const Tensor& a, const Tensor& b) {
  Tensor difference = Tensor::zeros(DType::kF32, a.shape());
  const auto to = difference.values<float>();
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = a.values<const float>()[i] - b.values<const float>()[i];
  return norm(difference);
}

// Four equal micro-batches have a quarter of one's gradient each; adding them in BF16 would miss by
// 2^-9.
TEST(Bf16Recipe, MicroBatchesAddUpInFp32) {
  const TestContext context(kernels::best_isa(), 1);
  const Tensor one = random_tokens(small_config(), 1, 16, 3);
  Tensor four = Tensor::zeros(DType::kI32, Shape{4, one.shape()[1]});
  for (std::int64_t s = 0; s < 4; ++s)
    std::ranges::copy(one.values<std::int32_t>(), four.matrix<std::int32_t>().row(s));
  const auto want = gradients(context, small_config(), model::Recipe::kBf16, one, 1);
  const auto got = gradients(context, small_config(), model::Recipe::kBf16, four, 1);
  for (const auto& [name, gradient] : want)
    EXPECT_LE(distance(got.at(name), gradient), 1e-5 * norm(gradient)) << name;
}

TEST(Bf16Recipe, GradientsAreNearThoseOfFp32) {
  TestContext context(kernels::best_isa(), 1);
  kernels::ComputeContext dots = context;
  dots.bf16 = kernels::bf16_features();
  model::ModelConfig config = small_config();
  config.n_group = config.topk_group = 1;
  config.num_experts_per_tok = config.n_routed_experts;  // no choice that a rounding could change
  const Tensor tokens = random_tokens(config, 4, 16, 3);
  const auto want = gradients(context, config, model::Recipe::kFp32, tokens, 2);
  for (const kernels::ComputeContext& c : {context.get(), dots}) {
    const auto got = gradients(c, config, model::Recipe::kBf16, tokens, 2);
    for (const auto& [name, gradient] : want) {
      const double size = norm(gradient);
      EXPECT_LE(distance(got.at(name), gradient), 0.06 * size) << name;
      EXPECT_NEAR(dot(got.at(name), gradient) / (size * size), 1, 0.02) << name << ": a bias";
    }
  }
}

}  // namespace
}  // namespace sluice::test
