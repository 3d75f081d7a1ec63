// Counter-based random numbers: the published Philox vectors, and moments.
#include "kernels/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace sluice {
namespace {

TEST(Random, MatchesPublishedPhiloxVector) {
  // Random123's known-answer test for philox4x32-10 with counter 0 and key 0.
  const auto block = Random(0, RandomPurpose::kInitialization, 0).block(0);
  EXPECT_EQ(block[0], 0x6627e8d5u);
  EXPECT_EQ(block[1], 0xe169c58du);
  EXPECT_EQ(block[2], 0xbc57ac4cu);
  EXPECT_EQ(block[3], 0x9b00dbd8u);
}

TEST(Random, StreamsDiffer) {
  const Random a(1, RandomPurpose::kShuffle, 3);
  EXPECT_NE(a.bits(0), Random(2, RandomPurpose::kShuffle, 3).bits(0));
  EXPECT_NE(a.bits(0), Random(1, RandomPurpose::kFim, 3).bits(0));
  EXPECT_NE(a.bits(0), Random(1, RandomPurpose::kShuffle, 4).bits(0));
  EXPECT_NE(a.bits(0), a.bits(1));
}

TEST(Random, NormalHasUnitMoments) {
  const Random random(7, RandomPurpose::kTest);
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = random.normal(static_cast<std::uint64_t>(i));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
}

TEST(Random, BelowStaysBelow) {
  const Random random(9, RandomPurpose::kTest);
  for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_LT(random.below(7, i), 7u);
}

}  // namespace
}  // namespace sluice
