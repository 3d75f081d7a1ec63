// AdamW against PyTorch's own steps and fp64; sums of squares against their written order; every
// kernel set bit for bit.
#include "kernels/optimizer/adamw.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;

TestMatrix vector_of(const nlohmann::json& values) {
  TestMatrix m = TestMatrix::vector(static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) m.values()[i] = values[i];
  return m;
}

TEST(AdamW, FollowsPyTorch) {
  std::ifstream file(SLUICE_TEST_DATA "/optimizer/adamw.json");
  const nlohmann::json oracle = nlohmann::json::parse(file);
  ASSERT_EQ(oracle["cases"].size(), 2u);
  for (const auto& c : oracle["cases"]) {
    AdamWDesc desc{.learning_rate = c["learning_rate"],
                   .beta1 = c["beta1"],
                   .beta2 = c["beta2"],
                   .epsilon = c["epsilon"],
                   .weight_decay = c["weight_decay"],
                   .gradient_scale = c["gradient_scale"]};
    const TestMatrix weight = vector_of(c["start"]);
    const TestMatrix m = TestMatrix::vector(weight.columns()), v = m.clone();
    for (std::size_t step = 0; step < c["weights"].size(); ++step) {
      desc.step = static_cast<std::int64_t>(step) + 1;
      adamw(TestContext(), desc, vector_of(c["gradients"][step]).values(), weight.values(),
            m.values(), v.values(), {});
      EXPECT_TRUE(test::all_close(c["weights"][step].get<std::vector<double>>(), weight.view(),
                                  {1e-6, 1e-6, 1e-6}))
          << "step " << desc.step;
    }
    EXPECT_TRUE(test::all_close(c["m"].get<std::vector<double>>(), m.view(), {1e-9, 2e-6, 1e-6}));
    EXPECT_TRUE(test::all_close(c["v"].get<std::vector<double>>(), v.view(), {1e-12, 2e-6, 1e-6}));
  }
}

TEST(AdamW, SetsAndThreadsAgreeToTheBit) {
  for (const std::int64_t n : {0, 1, 15, 16, 1000, 70001}) {
    test::expect_same_bits([&](const ComputeContext& context) {
      const TestMatrix weight = TestMatrix::random_vector(n, 1),
                       m = TestMatrix::random_vector(n, 2, 0.1f);
      const TestMatrix v = TestMatrix::random_vector(n, 3, 0.1f),
                       gradient = TestMatrix::random_vector(n, 4);
      for (float& value : v.values()) value *= value;
      TestMatrix compute(DType::kBF16, 1, n, 0);
      for (const std::int64_t step : {1, 2, 1000}) {
        adamw(context,
              {.learning_rate = 0.01, .weight_decay = 0.1, .gradient_scale = 0.7f, .step = step},
              gradient.values(), weight.values(), m.values(), v.values(), compute.values<BF16>());
      }
      return std::vector<TestMatrix>{weight, m, v, compute};
    });
  }
}

TEST(AdamW, RefreshesTheNarrowCopy) {
  const TestMatrix weight = TestMatrix::random_vector(33, 1),
                   gradient = TestMatrix::random_vector(33, 2);
  const TestMatrix m = TestMatrix::vector(33), v = m.clone(), compute(DType::kBF16, 1, 33, 0);
  adamw(TestContext(), {.learning_rate = 0.1}, gradient.values(), weight.values(), m.values(),
        v.values(), compute.values<BF16>());
  for (std::int64_t i = 0; i < 33; ++i) {
    EXPECT_EQ(compute.at(0, i), BF16::from_float(weight.at(0, i)).to_float());
  }
}

TEST(AdamW, WithoutGradientOnlyDecays) {
  const TestMatrix weight = TestMatrix::random_vector(20, 1), before = weight.clone();
  const TestMatrix zeros = TestMatrix::vector(20), m = zeros.clone(), v = zeros.clone();
  adamw(TestContext(), {.learning_rate = 0.5, .weight_decay = 0.5}, zeros.values(), weight.values(),
        m.values(), v.values(), {});
  for (std::int64_t i = 0; i < 20; ++i) EXPECT_EQ(weight.at(0, i), before.at(0, i) * 0.75f);
}

// 16 lanes inside blocks of 65,536, a tree over the lanes, blocks in order.
double written_order(std::span<const float> values) {
  double total = 0;
  for (std::size_t begin = 0; begin < values.size(); begin += 65536) {
    double lanes[16] = {};
    for (std::size_t i = begin; i < std::min(values.size(), begin + 65536); ++i) {
      const double value = static_cast<double>(values[i]);
      lanes[(i - begin) % 16] += value * value;
    }
    for (int half = 8; half >= 1; half /= 2) {
      for (int j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    }
    total += lanes[0];
  }
  return total;
}

TEST(SumOfSquares, FollowsItsWrittenOrderEverywhere) {
  for (const std::int64_t n : {0, 1, 17, 65536, 65537, 300001}) {
    const TestMatrix values = TestMatrix::random_vector(n, 1, 100);
    const double want = written_order(values.values());
    test::for_each_context([&](const TestContext& context) {
      EXPECT_EQ(sum_of_squares(context, values.values()), want) << n;
    });
  }
}

TEST(SumOfSquares, DoesNotOverflowWhereFp32Would) {
  const TestMatrix values = TestMatrix::vector(2);
  values.values()[0] = values.values()[1] = 3e38f;
  EXPECT_NEAR(sum_of_squares(TestContext(), values.values()) / 1.8e77, 1, 1e-6);
}

TEST(Clear, LeavesZeros) {
  test::for_each_context([](const TestContext& context) {
    const TestMatrix values = TestMatrix::random_vector(40000, 1);
    clear(context, values.values());
    EXPECT_TRUE(test::same_bits(TestMatrix::vector(40000).view(), values.view()));
  });
}

}  // namespace
}  // namespace sluice::kernels
