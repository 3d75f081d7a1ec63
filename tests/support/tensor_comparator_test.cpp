// The comparator cannot be fooled: each way of being wrong is rejected.
#include "tests/support/tensor_comparator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/test_matrix.hpp"

namespace sluice::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Comparator : testing::Test {
  static constexpr std::int64_t kColumns = 64;
  std::vector<double> want = TestMatrix::random(DType::kF32, 128, kColumns, 1).doubles();
  std::vector<double> got = want;
  Tolerance tolerance = tolerance_for(0x1p-8, 1);

  bool accepts() const { return static_cast<bool>(all_close(want, got, kColumns, tolerance)); }
};

TEST_F(Comparator, AcceptsEqual) { EXPECT_TRUE(accepts()); }

TEST_F(Comparator, AcceptsWithinTolerance) {
  for (double& value : got) value *= 1 + 0x1p-8;
  EXPECT_TRUE(accepts());
}

TEST_F(Comparator, RejectsNaN) {
  got[7] = kNaN;
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsNumberForNaN) {
  want[7] = kNaN;
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, AcceptsSameNonFinite) {
  want[7] = got[7] = kNaN;
  want[9] = got[9] = -kInfinity;
  EXPECT_TRUE(accepts());
}

TEST_F(Comparator, RejectsInfinity) {
  got[7] = kInfinity;
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsInfinityOfOtherSign) {
  want[7] = kInfinity;
  got[7] = -kInfinity;
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsTwoNegatives) {
  want[7] = -100;
  got[7] = -1;
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsOneZeroRow) {
  std::fill_n(got.begin() + 50 * kColumns, kColumns, 0.0);
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsOneSmallRowOff) {
  // Each element is within the absolute tolerance; the row is not.
  for (std::size_t c = 0; c < kColumns; ++c) {
    want[c] *= 0.01;
    got[c] = want[c] * 1.9;
  }
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsShort) {
  got.pop_back();
  EXPECT_FALSE(accepts());
}

TEST_F(Comparator, RejectsExchangedRows) {
  std::swap_ranges(got.begin(), got.begin() + kColumns, got.begin() + kColumns);
  EXPECT_FALSE(accepts());
}

TEST(SameBits, SeesOneBitAndTheSignOfZero) {
  const TestMatrix a = TestMatrix::random(DType::kF32, 3, 5, 1);
  TestMatrix b = a.clone();
  EXPECT_TRUE(same_bits(a.view(), b.view()));
  b.set(2, 4, std::nextafter(b.at(2, 4), 9.0f));
  EXPECT_FALSE(same_bits(a.view(), b.view()));
  TestMatrix zero(DType::kBF16, 1, 1), minus_zero(DType::kBF16, 1, 1);
  minus_zero.set(0, 0, -0.0f);
  EXPECT_FALSE(same_bits(zero.view(), minus_zero.view()));
}

TEST(SameBits, SeesTypeAndShape) {
  const TestMatrix a(DType::kF32, 2, 3);
  EXPECT_FALSE(same_bits(a.view(), TestMatrix(DType::kBF16, 2, 3).view()));
  EXPECT_FALSE(same_bits(a.view(), TestMatrix(DType::kF32, 3, 2).view()));
}

TEST(TestMatrix, KnowsWhenItsGuardsWereTouched) {
  const TestMatrix a = TestMatrix::random(DType::kF32, 3, 5, 1);
  EXPECT_TRUE(a.guards_intact());
  a.view().as<float>().row(1)[5] = 1;
  EXPECT_FALSE(a.guards_intact());
}

}  // namespace
}  // namespace sluice::test
