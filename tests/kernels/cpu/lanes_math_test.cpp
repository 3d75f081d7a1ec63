// exp, sigmoid and log of the kernels against the C library in fp64.
#include "kernels/cpu/lanes_math.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sluice::kernels {
namespace {

double units_off(float got, double want) {
  const auto rounded = static_cast<float>(want);
  const double unit =
      static_cast<double>(std::nextafter(rounded, std::numeric_limits<float>::infinity())) -
      static_cast<double>(rounded);
  return std::abs(static_cast<double>(got) - want) / unit;
}

TEST(LaneExp, IsWithinTwoUnits) {
  double worst = 0;
  for (int i = -869000; i <= 879000; i += 7) {
    const float x = static_cast<float>(i) * 1e-4f;
    worst = std::max(worst, units_off(lane_exp(x), std::exp(static_cast<double>(x))));
  }
  EXPECT_LT(worst, 2);
}

TEST(LaneExp, EndsOfTheRange) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(lane_exp(0), 1.0f);
  EXPECT_EQ(lane_exp(-0.0f), 1.0f);
  EXPECT_EQ(lane_exp(-88.0f), 0.0f);
  EXPECT_EQ(lane_exp(-kInfinity), 0.0f);
  EXPECT_EQ(lane_exp(kInfinity), lane_exp(88.0f));
  EXPECT_TRUE(std::isfinite(lane_exp(1e30f)));
  EXPECT_TRUE(std::isnan(lane_exp(std::nanf(""))));
}

TEST(LaneSigmoid, IsWithinThreeUnits) {
  for (int i = -20000; i <= 20000; ++i) {
    const float x = static_cast<float>(i) * 1e-3f;
    EXPECT_LT(units_off(lane_sigmoid(x), 1 / (1 + std::exp(-static_cast<double>(x)))), 3) << x;
  }
  EXPECT_EQ(lane_sigmoid(0), 0.5f);
}

TEST(LaneLog, IsWithin1e15) {
  for (int i = 1; i < 200000; ++i) {
    const double x = 1e-4 * i * (1 + 1e-3 * i);
    EXPECT_NEAR(lane_log(x), std::log(x), 1e-15 * std::max(1.0, std::abs(std::log(x)))) << x;
  }
  EXPECT_EQ(lane_log(1), 0);
}

TEST(LaneSum, FoldsByTheTree) {
  // 1 + 2^-24 is 1 in fp32: which pairs meet first decides the sum.
  LaneArray lanes{};
  lanes[0] = 1;
  lanes[8] = lanes[4] = 0x1p-24f;  // each is lost when added alone to 1
  lanes[1] = lanes[9] = 0x1p-24f;  // meet first, and then count
  EXPECT_EQ(fold_sum(lanes), 1.0f + 0x1p-23f);
}

TEST(LaneSum, PutsElementsIntoLanesModulo16) {
  LaneSum sum;
  for (int i = 0; i < 40; ++i) sum.add(i, 1.0f);
  EXPECT_EQ(sum.total(40), 40.0f);
  LaneSum cancels;
  cancels.add(0, 1e30f);
  cancels.add(1, 1);
  cancels.add(16, -1e30f);  // the same lane as element 0
  EXPECT_EQ(cancels.total(17), 1.0f);
}

TEST(FoldMax, TakesTheLargestAndSkipsNothing) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    LaneArray lanes;
    lanes.fill(-5);
    lanes[i] = -1;
    EXPECT_EQ(fold_max(lanes), -1.0f);
  }
}

}  // namespace
}  // namespace sluice::kernels
