// Cross entropy: against fp64, finite differences, ignored rows, extreme logits, and every kernel
// set bit for bit.
#include "kernels/loss/cross_entropy.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/compute_contexts.hpp"
#include "tests/support/finite_difference.hpp"
#include "tests/support/tensor_comparator.hpp"

namespace sluice::kernels {
namespace {

using test::TestContext;
using test::TestMatrix;
using Doubles = std::span<const double>;

double row_formula(Doubles logits, std::int32_t target) {
  if (target < 0) return 0;
  double largest = logits[0], sum = 0;
  for (const double x : logits) largest = std::max(largest, x);
  for (const double x : logits) sum += std::exp(x - largest);
  return std::log(sum) + largest - logits[static_cast<std::size_t>(target)];
}

std::vector<double> formula(Doubles logits, std::span<const std::int32_t> targets) {
  std::vector<double> losses;
  const std::size_t n = logits.size() / targets.size();
  for (std::size_t r = 0; r < targets.size(); ++r) {
    losses.push_back(row_formula(logits.subspan(r * n, n), targets[r]));
  }
  return losses;
}

std::vector<std::int32_t> targets_of(std::int64_t rows, std::int64_t vocabulary) {
  std::vector<std::int32_t> targets;
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto target = static_cast<std::int32_t>(r * 31 % vocabulary);
    targets.push_back(r % 5 == 3 ? -1 : target);
  }
  return targets;
}

struct LossSizes {
  std::int64_t rows, vocabulary;
};
constexpr LossSizes kLossSizes[] = {{1, 1},    {6, 3},    {5, 16}, {9, 50},
                                    {40, 512}, {2, 4099}, {0, 32}};

class CrossEntropy : public testing::TestWithParam<std::tuple<DType, DType>> {};
INSTANTIATE_TEST_SUITE_P(Types, CrossEntropy,
                         testing::Combine(testing::Values(DType::kF32, DType::kBF16),
                                          testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) + "To" +
                                  std::string(name_of(std::get<1>(info.param)));
                         });

TEST_P(CrossEntropy, LossAndGradientFollowFp64) {
  const auto [in, out] = GetParam();
  for (const LossSizes s : {LossSizes{6, 3}, LossSizes{5, 37}}) {
    const TestMatrix logits = TestMatrix::random(in, s.rows, s.vocabulary, 1, 4);
    const auto targets = targets_of(s.rows, s.vocabulary);
    TestMatrix losses = TestMatrix::vector(s.rows), dlogits(out, s.rows, s.vocabulary);
    cross_entropy(TestContext(), logits.view(), targets, 0.25f, losses.values(), dlogits.view());
    const auto value = logits.doubles();
    EXPECT_TRUE(test::all_close(formula(value, targets), losses.view(), {2e-6, 2e-6, 1e-6}));
    const auto gradient = test::numeric_gradient(
        [&](Doubles at) {
          double sum = 0;
          for (const double loss : formula(at, targets)) sum += 0.25 * loss;
          return sum;
        },
        value);
    EXPECT_TRUE(test::all_close(gradient, dlogits.view(),
                                out == DType::kF32 ? test::Tolerance{1e-7, 1e-6, 1e-6}
                                                   : test::Tolerance{1e-4, 4e-3, 4e-3}));
  }
}

TEST_P(CrossEntropy, SetsAndThreadsAgreeToTheBit) {
  const auto [in, out] = GetParam();
  for (const LossSizes s : kLossSizes) {
    test::expect_same_bits([&, in = in, out = out](const ComputeContext& context) {
      const TestMatrix logits = TestMatrix::random(in, s.rows, s.vocabulary, 1, 30);
      const auto targets = targets_of(s.rows, s.vocabulary);
      TestMatrix losses = TestMatrix::vector(s.rows), dlogits(out, s.rows, s.vocabulary);
      TestMatrix losses_alone = losses.clone();
      cross_entropy(context, logits.view(), targets, 0.1f, losses.values(), dlogits.view());
      cross_entropy(context, logits.view(), targets, 0.1f, losses_alone.values(), {});
      EXPECT_TRUE(test::same_bits(losses.view(), losses_alone.view()));
      return std::vector<TestMatrix>{losses, dlogits};
    });
  }
}

TEST(CrossEntropyInPlace, GradientMayTakeThePlaceOfLogits) {
  test::for_each_context([](const TestContext& context) {
    TestMatrix logits = TestMatrix::random(DType::kF32, 4, 77, 1, 3), dlogits = logits.clone();
    const auto targets = targets_of(4, 77);
    TestMatrix losses = TestMatrix::vector(4), losses_in_place = losses.clone();
    cross_entropy(context, logits.view(), targets, 1, losses.values(), dlogits.view());
    cross_entropy(context, logits.view(), targets, 1, losses_in_place.values(), logits.view());
    EXPECT_TRUE(test::same_bits(dlogits.view(), logits.view()));
    EXPECT_TRUE(test::same_bits(losses.view(), losses_in_place.view()));
  });
}

TEST(CrossEntropyExtremes, LargeLogitsStayFiniteAndNaNShows) {
  test::for_each_context([](const TestContext& context) {
    TestMatrix logits(DType::kF32, 3, 20), dlogits = logits.clone();
    TestMatrix losses = TestMatrix::vector(3);
    logits.set(0, 4, 3e38f);
    logits.set(1, 4, -3e38f);
    logits.set(2, 19, std::numeric_limits<float>::quiet_NaN());
    const std::vector<std::int32_t> targets{4, 0, 0};
    cross_entropy(context, logits.view(), targets, 1, losses.values(), dlogits.view());
    EXPECT_EQ(losses.at(0, 0), 0.0f);
    EXPECT_NEAR(losses.at(0, 1), std::log(19.0f), 1e-6f);
    EXPECT_TRUE(std::isnan(losses.at(0, 2)));
    EXPECT_EQ(dlogits.at(1, 4), 0.0f);
    EXPECT_TRUE(std::isnan(dlogits.at(2, 0)));
  });
}

}  // namespace
}  // namespace sluice::kernels
