// Operands for kernel tests: seeded values, rows further apart than they are long, and guards
// between them that nobody may touch.
#pragma once

#include <span>
#include <vector>

#include "kernels/base/tensor.hpp"

namespace sluice::test {

/// Owns its elements; a copy shares them, `clone` does not. fp32, BF16 or fp64.
class TestMatrix {
 public:
  static constexpr std::int64_t kGuard = 3;  ///< elements behind every row

  /// Zeros.
  TestMatrix(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t guard = kGuard);
  /// Normal values times `scale`.
  [[nodiscard]] static TestMatrix random(DType dtype, std::int64_t rows, std::int64_t columns,
                                         std::uint64_t seed, float scale = 1,
                                         std::int64_t guard = kGuard);
  /// One row without guard, for what kernels take as a span.
  [[nodiscard]] static TestMatrix vector(std::int64_t n) { return {DType::kF32, 1, n, 0}; }
  [[nodiscard]] static TestMatrix random_vector(std::int64_t n, std::uint64_t seed,
                                                float scale = 1) {
    return random(DType::kF32, 1, n, seed, scale, 0);
  }
  [[nodiscard]] TestMatrix clone() const;

  [[nodiscard]] TensorView view() const;
  /// The elements of a matrix without guards.
  template <class T = float>
  [[nodiscard]] std::span<T> values() const {
    return tensor_.values<T>();
  }
  [[nodiscard]] std::int64_t rows() const { return tensor_.shape()[0]; }
  [[nodiscard]] std::int64_t columns() const { return columns_; }
  [[nodiscard]] float at(std::int64_t r, std::int64_t c) const;
  void set(std::int64_t r, std::int64_t c, float value) const;
  [[nodiscard]] std::vector<double> doubles() const;
  [[nodiscard]] bool guards_intact() const;

 private:
  std::int64_t columns_;
  Tensor tensor_;
};

}  // namespace sluice::test
