// Operands and expectations for the tests of matrix products.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/base/random.hpp"
#include "kernels/gemm/gemm.hpp"

namespace sluice::kernels {

inline constexpr std::int64_t kGuard = 3;  ///< elements between rows, which nobody may touch

/// A matrix whose rows lie further apart than their length; what lies between is checked by
/// `guards_intact`.
class Matrix {
 public:
  static constexpr float kGuardValue = 12345.0f;

  Matrix(DType dtype, std::int64_t rows, std::int64_t columns, std::int64_t guard = kGuard)
      : columns_(columns), tensor_(Tensor::zeros(dtype, Shape{rows, columns + guard})) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns + guard; ++c) set(r, c, c < columns ? 0 : kGuardValue);
    }
  }
  /// Uniform in [-1, 1).
  static Matrix random(DType dtype, std::int64_t rows, std::int64_t columns, std::uint64_t seed,
                       std::int64_t guard = kGuard) {
    Matrix m(dtype, rows, columns, guard);
    const Random random(seed, RandomPurpose::kTest);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        const auto index = static_cast<std::uint64_t>(r * columns + c);
        const std::uint32_t bits = random.block(index / 4)[index % 4];
        m.set(r, c, std::ldexp(static_cast<float>(static_cast<std::int32_t>(bits)), -31));
      }
    }
    return m;
  }
  [[nodiscard]] Matrix clone() const {
    Matrix m = *this;
    m.tensor_ = Tensor::zeros(tensor_.dtype(), tensor_.shape());
    std::memcpy(m.tensor_.bytes(), tensor_.bytes(), tensor_.size_bytes());
    return m;
  }

  [[nodiscard]] TensorView view() const {
    TensorView v = tensor_.view();
    v.columns = columns_;
    return v;
  }
  [[nodiscard]] std::int64_t rows() const { return view().rows; }
  [[nodiscard]] std::int64_t columns() const { return columns_; }
  [[nodiscard]] float at(std::int64_t r, std::int64_t c) const {
    const TensorView v = tensor_.view();
    return v.dtype == DType::kF32 ? v.as<float>().row(r)[c] : v.as<BF16>().row(r)[c].to_float();
  }
  void set(std::int64_t r, std::int64_t c, float x) {
    const TensorView v = tensor_.view();
    if (v.dtype == DType::kF32) {
      v.as<float>().row(r)[c] = x;
    } else {
      v.as<BF16>().row(r)[c] = BF16::from_float(x);
    }
  }
  /// All bytes, guards included.
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return {tensor_.bytes(), tensor_.size_bytes()};
  }
  [[nodiscard]] bool same_bytes(const Matrix& other) const {
    return bytes().size() == other.bytes().size() &&
           (bytes().empty() ||
            std::memcmp(bytes().data(), other.bytes().data(), bytes().size()) == 0);
  }

 private:
  std::int64_t columns_;
  Tensor tensor_;
};

/// Element (i, k) of an operand stored in `layout` (for B: (k, j)).
inline float element(const Matrix& m, Layout layout, std::int64_t row, std::int64_t column) {
  return layout == Layout::kNormal ? m.at(row, column) : m.at(column, row);
}

/// A kernel set with its threads.
struct Machine {
  explicit Machine(Isa isa, int threads = 1, Bf16Features bf16 = {}) : team(threads) {
    context.isa = isa;
    context.bf16 = bf16;
    context.team = &team;
    context.allocator = &heap_allocator();
  }
  ThreadTeam team;
  ComputeContext context;
};

/// One product with its operands; C starts from random numbers.
struct GemmCase {
  std::int64_t m, n, k;
  Layout a_layout = Layout::kNormal;
  Layout b_layout = Layout::kNormal;
  bool accumulate = false;
  DType operands = DType::kF32;
  DType result = DType::kF32;

  [[nodiscard]] Matrix a() const {
    return a_layout == Layout::kNormal ? Matrix::random(operands, m, k, 1)
                                       : Matrix::random(operands, k, m, 1);
  }
  [[nodiscard]] Matrix b() const {
    return b_layout == Layout::kNormal ? Matrix::random(operands, k, n, 2)
                                       : Matrix::random(operands, n, k, 2);
  }
  [[nodiscard]] Matrix c() const { return Matrix::random(result, m, n, 3); }

  [[nodiscard]] Matrix run(const ComputeContext& context) const {
    return run(context, a(), b(), c());
  }
  [[nodiscard]] Matrix run_packed(const ComputeContext& context) const {
    return run_packed(context, a(), b(), c());
  }
  [[nodiscard]] Matrix run(const ComputeContext& context, const Matrix& a, const Matrix& b,
                           const Matrix& start) const {
    Matrix out = start.clone();
    gemm(context, a.view(), a_layout, b.view(), b_layout, out.view(), accumulate);
    return out;
  }
  [[nodiscard]] Matrix run_packed(const ComputeContext& context, const Matrix& a, const Matrix& b,
                                  const Matrix& start) const {
    Matrix out = start.clone();
    PackedB packed;
    packed.pack(context, b.view(), b_layout);
    gemm(context, a.view(), a_layout, packed, out.view(), accumulate);
    return out;
  }
};

inline void PrintTo(const GemmCase& c, std::ostream* out) {
  *out << c.m << "x" << c.n << "x" << c.k << (c.a_layout == Layout::kTransposed ? " At" : " A")
       << (c.b_layout == Layout::kTransposed ? " Bt" : " B") << (c.accumulate ? " +=" : " =") << " "
       << name_of(c.operands) << "->" << name_of(c.result);
}

/// Product in double precision with the error bound of a chain of k roundings: sums[i] is exact to
/// double, |error| <= (k + 1) · 2^-24 · Σ|a·b|, plus one rounding to BF16 where the result is that.
struct DoubleProduct {
  double value = 0;
  double magnitude = 0;
};
inline DoubleProduct double_product(const GemmCase& c, const Matrix& a, const Matrix& b,
                                    const Matrix& start, std::int64_t i, std::int64_t j) {
  DoubleProduct p;
  if (c.accumulate) p = {start.at(i, j), std::abs(start.at(i, j))};
  for (std::int64_t k = 0; k < c.k; ++k) {
    const double term = static_cast<double>(element(a, c.a_layout, i, k)) *
                        static_cast<double>(element(b, c.b_layout, k, j));
    p.value += term;
    p.magnitude += std::abs(term);
  }
  return p;
}

/// Whether every element of `out` is the double-precision product within `roundings` fp32 roundings
/// (and the final one to BF16).
inline testing::AssertionResult is_product(const GemmCase& c, const Matrix& out, double roundings) {
  const Matrix a = c.a();
  const Matrix b = c.b();
  const Matrix start = c.c();
  for (std::int64_t i = 0; i < c.m; ++i) {
    for (std::int64_t j = 0; j < c.n; ++j) {
      const DoubleProduct want = double_product(c, a, b, start, i, j);
      double bound = roundings * std::ldexp(want.magnitude, -24);
      if (c.result == DType::kBF16) bound += std::ldexp(std::abs(want.value) + bound, -8);
      const double error = std::abs(out.at(i, j) - want.value);
      if (!(error <= bound)) {  // NaN fails too
        return testing::AssertionFailure() << "(" << i << ", " << j << ") is " << out.at(i, j)
                                           << ", not " << want.value << " +- " << bound;
      }
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace sluice::kernels
