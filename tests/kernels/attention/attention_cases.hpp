// Operands of attention, and its formula in fp64.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "kernels/attention/attention.hpp"
#include "tests/support/test_matrix.hpp"

namespace sluice::kernels {

using Doubles = std::span<const double>;
using test::TestMatrix;

inline std::int64_t rows(const AttentionDesc& d) { return d.sequences * d.length; }

struct Inputs {
  TestMatrix q, kv, k_rope, dout;

  explicit Inputs(const AttentionDesc& d, DType dtype = DType::kF32,
                  std::int64_t guard = TestMatrix::kGuard)
      : q(TestMatrix::random(dtype, rows(d), d.heads * (d.nope + d.rope), 1, 1, guard)),
        kv(TestMatrix::random(dtype, rows(d), d.heads * (d.nope + d.value), 2, 1, guard)),
        k_rope(TestMatrix::random(dtype, rows(d), d.rope, 3, 1, guard)),
        dout(TestMatrix::random(dtype, rows(d), d.heads * d.value, 4, 1, guard)) {}
};

// The formula of the DeepSeek-V3 report (eq. 10), row by row.
struct Formula {
  AttentionDesc d;
  Doubles q, kv, k_rope;

  [[nodiscard]] double at(Doubles m, std::int64_t row, std::int64_t column) const {
    const auto columns = static_cast<std::int64_t>(m.size()) / rows(d);
    return m[static_cast<std::size_t>(row * columns + column)];
  }
  [[nodiscard]] double score(std::int64_t t, std::int64_t j, std::int64_t h) const {
    double dot = 0;
    for (std::int64_t c = 0; c < d.nope + d.rope; ++c) {
      const double k =
          c < d.nope ? at(kv, j, h * (d.nope + d.value) + c) : at(k_rope, j, c - d.nope);
      dot += at(q, t, h * (d.nope + d.rope) + c) * k;
    }
    return dot * static_cast<double>(d.scale);
  }
  // One head's output at t, then the logarithm of its row's sum.
  [[nodiscard]] std::vector<double> head(std::int64_t t, std::int64_t h) const {
    std::vector<double> result(static_cast<std::size_t>(d.value) + 1);
    double sum = 0;
    for (std::int64_t j = t / d.length * d.length; j <= t; ++j) {
      const double e = std::exp(score(t, j, h));
      sum += e;
      for (std::int64_t c = 0; c < d.value; ++c) {
        result[static_cast<std::size_t>(c)] += e * at(kv, j, h * (d.nope + d.value) + d.nope + c);
      }
    }
    for (double& value : result) value /= sum;
    result.back() = std::log(sum);
    return result;
  }
  [[nodiscard]] std::vector<double> out() const {
    std::vector<double> all;
    for (std::int64_t n = 0; n < rows(d) * d.heads; ++n) {
      const std::vector<double> one = head(n / d.heads, n % d.heads);
      all.insert(all.end(), one.begin(), one.end() - 1);
    }
    return all;
  }
  [[nodiscard]] std::vector<double> log_sum_exp() const {
    std::vector<double> all;
    for (std::int64_t n = 0; n < rows(d) * d.heads; ++n) {
      all.push_back(head(n / d.heads, n % d.heads).back());
    }
    return all;
  }
};

}  // namespace sluice::kernels
