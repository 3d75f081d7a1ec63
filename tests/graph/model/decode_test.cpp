// Absorbed attention over the latent cache gives what the naive form gives over all tokens.
#include <gtest/gtest.h>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/model_cases.hpp"
#include "tests/support/tensor_comparator.hpp"
#include "tests/support/whole_model.hpp"

namespace sluice::test {
namespace {

class DecodeTest : public testing::TestWithParam<std::int64_t> {
 protected:
  static model::ModelConfig config() {
    model::ModelConfig c = small_config();
    c.q_lora_rank = GetParam();
    c.num_nextn_predict_layers = 0;
    return c;
  }
};

TEST_P(DecodeTest, AnyPrefillEqualsTheFullForward) {
  const TestContext context(kernels::best_isa(), 2);
  WholeModel whole(config(), model::Recipe::kFp32, context);
  whole.initialize(5);
  const Tensor tokens = random_tokens(config(), 1, 12, 3);
  const Tensor full = whole.forward(tokens).logits;
  for (const std::int64_t count : {1, 5, 12}) {
    const auto begin = tokens.values<std::int32_t>().begin();
    const std::vector<std::int32_t> text(begin, begin + count);
    for (const std::int64_t prefill : {std::int64_t{1}, (count + 1) / 2, count}) {
      const Tensor logits = whole.cached_logits(text, prefill);
      EXPECT_TRUE(
          all_close(to_doubles(full.slice(count - 1, 1).view()), logits.view(), {.absolute = 1e-5}))
          << count << " tokens, the first " << prefill << " at once";
    }
  }
}

TEST_P(DecodeTest, SameBitsUnderEveryContext) {
  const std::vector<std::int32_t> prompt{3, 1, 4, 1, 5, 9};
  Tensor want;
  for_each_context([&](const TestContext& context) {
    WholeModel whole(config(), model::Recipe::kFp32, context);
    whole.initialize(5);
    const Tensor logits = whole.cached_logits(prompt, 4);
    if (want.empty()) want = logits;
    EXPECT_TRUE(same_bits(want.view(), logits.view()));
  });
}

TEST_P(DecodeTest, NewWeightsAreAbsorbedAgain) {
  const TestContext context(kernels::best_isa(), 2);
  WholeModel whole(config(), model::Recipe::kFp32, context);
  whole.initialize(5);
  (void)whole.cached_logits({1, 2, 3}, 3);
  (void)whole.train_step(random_tokens(config(), 2, 8, 1), {.learning_rate = 0.01f}, 2);
  const Tensor tokens = random_tokens(config(), 1, 4, 3);
  const auto begin = tokens.values<std::int32_t>().begin();
  EXPECT_TRUE(all_close(to_doubles(whole.forward(tokens).logits.slice(3, 1).view()),
                        whole.cached_logits({begin, begin + 4}, 2).view(), {.absolute = 1e-5}));
}

INSTANTIATE_TEST_SUITE_P(QueryLatent, DecodeTest, testing::Values(18, 0),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace sluice::test
