// Comparing tensors so that nothing slips through: non-finite values first, then every element,
// then every row's norm; or bit by bit.
#pragma once

#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "kernels/base/tensor.hpp"

namespace sluice::test {

/// An element may differ by absolute + relative · |want|, a row by `row` · its norm + absolute.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
  double row = 0;
};

/// For sums of k terms computed with this unit roundoff (2^-24 for fp32, 2^-9 for BF16), values
/// near 1.
[[nodiscard]] Tolerance tolerance_for(double unit_roundoff, std::int64_t k);

[[nodiscard]] testing::AssertionResult all_close(std::span<const double> want,
                                                 std::span<const double> got, std::int64_t columns,
                                                 Tolerance tolerance);
/// `want` holds rows · columns values; `got` is fp32 or BF16.
[[nodiscard]] testing::AssertionResult all_close(std::span<const double> want, TensorView got,
                                                 Tolerance tolerance);

/// Same type, shape and bits; the first difference is named.
[[nodiscard]] testing::AssertionResult same_bits(TensorView want, TensorView got);

/// The elements of an fp32, BF16 or fp64 tensor, row by row.
[[nodiscard]] std::vector<double> to_doubles(TensorView view);

}  // namespace sluice::test
