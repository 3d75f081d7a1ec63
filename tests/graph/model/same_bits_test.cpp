// fp32 results depend on weights and tokens alone: not on kernel set, threads, or how experts and
// sequences are divided.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/model_cases.hpp"
#include "tests/support/tensor_comparator.hpp"
#include "tests/support/whole_model.hpp"

namespace sluice::test {
namespace {

constexpr std::uint64_t kSeed = 11;

/// Master weights by name after three steps.
std::map<std::string, Tensor> train(const kernels::ComputeContext& context,
                                    std::int64_t expert_groups) {
  const model::ModelConfig config = small_config();
  WholeModel whole(config, model::Recipe::kFp32, context, expert_groups);
  whole.initialize(kSeed);
  for (std::uint64_t step = 0; step < 3; ++step)
    (void)whole.train_step(random_tokens(config, 2, 9, step), {}, 1);
  std::map<std::string, Tensor> weights;
  for (const auto& [name, parameter] : whole.parameters()) weights[name] = parameter->master;
  return weights;
}

void expect_same(const std::map<std::string, Tensor>& want,
                 const std::map<std::string, Tensor>& got) {
  ASSERT_EQ(want.size(), got.size());
  for (const auto& [name, tensor] : want)
    EXPECT_TRUE(same_bits(tensor.view(), got.at(name).view())) << name;
}

TEST(SameBits, AnyKernelSetAndThreadCount) {
  const TestContext reference;
  const auto want = train(reference, 1);
  for_each_context([&](const TestContext& context) { expect_same(want, train(context, 1)); });
}

TEST(SameBits, AnyNumberOfExpertGroups) {
  const TestContext context(kernels::best_isa(), 2);
  const auto want = train(context, 1);
  for (const std::int64_t groups : {2, 3, 4, 5, 8}) {
    SCOPED_TRACE(groups);
    expect_same(want, train(context, groups));
  }
}

TEST(SameBits, ForwardOfEachSequenceAlone) {
  const TestContext context(kernels::best_isa(), 2);
  const model::ModelConfig config = small_config();
  WholeModel whole(config, model::Recipe::kFp32, context);
  whole.initialize(kSeed);
  const Tensor tokens = random_tokens(config, 3, 9, 1);
  const Tensor together = whole.forward(tokens).logits;
  for (std::int64_t s = 0; s < 3; ++s) {
    const Tensor alone = whole.forward(tokens.slice(s, 1)).logits;
    EXPECT_TRUE(same_bits(alone.view(), together.slice(s * 9, 9).view())) << s;
  }
}

TEST(SameBits, KeepingNothingForBackward) {
  const TestContext context(kernels::best_isa(), 2);
  const model::ModelConfig config = small_config();
  WholeModel whole(config, model::Recipe::kFp32, context);
  whole.initialize(kSeed);
  const Tensor tokens = random_tokens(config, 2, 9, 1);
  const Tensor logits = whole.forward(tokens).logits;
  const Losses losses = whole.forward_backward(tokens, {}, 2);
  double sum = 0;  // cross entropy of the logits that a pass without `keep` gave
  for (std::int64_t row = 0; row < 18; ++row) {
    const float* l = logits.matrix<const float>().row(row);
    double total = 0;
    for (std::int64_t v = 0; v < config.vocab_size; ++v)
      total += std::exp(static_cast<double>(l[v]));
    const std::int32_t target = tokens.matrix<std::int32_t>().row(row / 9)[row % 9 + 1];
    sum += std::log(total) - static_cast<double>(l[target]);
  }
  EXPECT_NEAR(losses.main, sum / 18, 1e-6);
}

}  // namespace
}  // namespace sluice::test
