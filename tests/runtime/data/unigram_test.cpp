// Unigram entropies by hand.
#include "runtime/data/unigram.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace sluice {
namespace {

using Counts = std::vector<std::uint64_t>;

TEST(Unigram, EntropyOfKnownDistributions) {
  EXPECT_DOUBLE_EQ(unigram_entropy(Counts{5, 5, 5, 5, 0}), std::log(4.0));
  EXPECT_DOUBLE_EQ(unigram_entropy(Counts{9, 0}), 0.0);
  EXPECT_DOUBLE_EQ(unigram_entropy(Counts{0, 0}), 0.0);
  EXPECT_NEAR(unigram_entropy(Counts{3, 1}), -0.75 * std::log(0.75) - 0.25 * std::log(0.25), 1e-15);
}

TEST(Unigram, CrossEntropySmoothsByOne) {
  // The model: (3+1)/8, (0+1)/8, (2+1)/8.
  const double expected = -(0.5 * std::log(4.0 / 8) + 0.5 * std::log(1.0 / 8));
  EXPECT_NEAR(unigram_cross_entropy(Counts{1, 1, 0}, Counts{3, 0, 2}), expected, 1e-15);
  EXPECT_EQ(unigram_cross_entropy(Counts{0, 0}, Counts{1, 1}), 0.0);
}

}  // namespace
}  // namespace sluice
