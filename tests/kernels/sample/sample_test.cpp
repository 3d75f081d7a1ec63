// Sampling: against a sorted list in fp64, frequencies, ties, and logits that are not numbers.
#include "kernels/sample/sample.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/base/random.hpp"
#include "tests/support/test_matrix.hpp"

namespace sluice::kernels {
namespace {

using test::TestMatrix;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Argmax, LowestIndexAmongEquals) {
  EXPECT_EQ(argmax(std::vector<float>{-3}), 0);
  EXPECT_EQ(argmax(std::vector<float>{1, 5, 5, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-kInfinity, -kInfinity}), 0);
  EXPECT_EQ(argmax(std::vector<float>{kNaN, -2, kNaN, -1}), 3);
}

struct Choice {
  std::int32_t token;
  double slack;  // how far `uniform` is from where another token begins
};

// Sorted list, cut at top_p, walked along the cumulative sum.
Choice sorted_choice(std::span<const float> logits, SampleDesc desc, double uniform) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](std::int32_t i) {
    return static_cast<double>(logits[static_cast<std::size_t>(i)]);
  };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return at(a) > at(b); });
  std::vector<double> p;
  for (const auto i : order)
    p.push_back(std::exp((at(i) - at(order[0])) / static_cast<double>(desc.temperature)));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  double mass = 0;
  std::size_t kept = 0;
  while (kept < p.size() && mass < static_cast<double>(desc.top_p) * total) mass += p[kept++];
  double sum = 0, before = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    before = sum;
    sum += p[i];
    if (sum > uniform * mass) {
      return {order[i], std::min(sum - uniform * mass, uniform * mass - before) / mass};
    }
  }
  return {order[kept - 1], 0};
}

TEST(Sample, FollowsTheSortedList) {
  const Random random(3, RandomPurpose::kTest);
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto logits = TestMatrix::random_vector(1 + static_cast<std::int64_t>(seed) * 5, seed, 3);
    for (const SampleDesc desc :
         {SampleDesc{1, 1}, SampleDesc{0.7f, 0.9f}, SampleDesc{2, 0.5f}, SampleDesc{1.5f, 0.01f}}) {
      for (std::uint64_t i = 0; i < 20; ++i) {
        const float uniform = random.uniform(seed * 100 + i);
        const Choice want = sorted_choice(logits.values(), desc, static_cast<double>(uniform));
        if (want.slack < 1e-6 && logits.columns() > 1) continue;  // rounding may decide
        EXPECT_EQ(sample(logits.values(), desc, uniform), want.token);
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 2500);
}

TEST(Sample, ZeroTemperatureIsGreedy) {
  const auto logits = TestMatrix::random_vector(100, 1);
  EXPECT_EQ(sample(logits.values(), {.temperature = 0}, 0.99f), argmax(logits.values()));
}

TEST(Sample, EqualLogitsGoByIndex) {
  const std::vector<float> logits(4, 2.0f);
  for (std::int32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(sample(logits, {}, static_cast<float>(i) * 0.25f + 0.1f), i);
    EXPECT_EQ(sample(logits, {.top_p = 0.5f}, static_cast<float>(i) * 0.25f + 0.1f), i / 2);
  }
}

TEST(Sample, LowTemperatureAndEndsOfUniform) {
  const std::vector<float> logits{1, 3, 2};
  EXPECT_EQ(sample(logits, {.temperature = 1e-30f}, 0.999f), 1);
  EXPECT_EQ(sample(logits, {}, 0), 1);
  EXPECT_EQ(sample(logits, {}, std::nextafter(1.0f, 0.0f)), 0);
}

TEST(Sample, SurvivesNonNumbers) {
  EXPECT_EQ(sample(std::vector<float>{kNaN, kNaN}, {}, 0.5f), 0);
  EXPECT_EQ(sample(std::vector<float>{1, kInfinity, 2}, {}, 0.5f), 1);
  EXPECT_EQ(sample(std::vector<float>{kNaN, 1, -kInfinity}, {}, 0.9f), 1);
}

}  // namespace
}  // namespace sluice::kernels
