// The shuffle is a bijection, differs by seed and epoch, and leaves no visible order.
#include "runtime/data/permutation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sluice {
namespace {

TEST(Permutation, IsABijectionOfAnySize) {
  for (std::uint64_t count = 1; count < 300; ++count) {
    const Permutation permutation(count, 7, count);
    std::vector<int> seen(count);
    for (std::uint64_t i = 0; i < count; ++i) ++seen[permutation(i)];
    for (const int times : seen) ASSERT_EQ(times, 1) << count;
  }
}

TEST(Permutation, StaysInRangeForHugeCounts) {
  const std::uint64_t count = (std::uint64_t{1} << 61) + 12345;
  const Permutation permutation(count, 1, 2);
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_LT(permutation(i * (count / 101)), count);
}

TEST(Permutation, DependsOnSeedAndEpoch) {
  const std::uint64_t count = 1000;
  const auto order = [&](std::uint64_t seed, std::uint64_t epoch) {
    std::vector<std::uint64_t> out;
    for (std::uint64_t i = 0; i < count; ++i) out.push_back(Permutation(count, seed, epoch)(i));
    return out;
  };
  EXPECT_EQ(order(1, 0), order(1, 0));
  EXPECT_NE(order(1, 0), order(2, 0));
  EXPECT_NE(order(1, 0), order(1, 1));
}

TEST(Permutation, LeavesNoOrder) {
  const std::uint64_t count = 10000;
  const Permutation permutation(count, 3, 0);
  double product = 0;
  const double mean = (count - 1) / 2.0;
  for (std::uint64_t i = 0; i < count; ++i) {
    product += (static_cast<double>(i) - mean) * (static_cast<double>(permutation(i)) - mean);
  }
  const double variance = (static_cast<double>(count) * count - 1) / 12.0;
  EXPECT_LT(std::abs(product / count / variance), 0.04);  // correlation of places: 4 sigma
}

}  // namespace
}  // namespace sluice
