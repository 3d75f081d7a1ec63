// Gradients of fp32 layers held against finite differences along random directions.
//
// A layer is differentiated as the function loss = sum(output · weights) + extra. Along a random
// ±1 direction d the derivative is <gradient, d>; any wrong element shows with probability one.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/base/random.hpp"
#include "kernels/base/tensor.hpp"

namespace sluice::test {

inline Tensor random_tensor(Shape shape, std::uint64_t seed, float scale = 1) {
  Tensor t = Tensor::zeros(DType::kF32, shape);
  const Random random(seed, RandomPurpose::kTest);
  std::uint64_t i = 0;
  for (float& x : t.values<float>()) x = scale * random.normal(i++);
  return t;
}

/// sum of a_i · b_i in fp64.
inline double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  const auto x = a.values<const float>(), y = b.values<const float>();
  for (std::size_t i = 0; i < x.size(); ++i)
    sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

/// `loss` reads `values`, whose analytic gradient is `gradient`. Central differences with step and
/// 2 · step, extrapolated, along `directions` random directions.
inline void expect_gradient(const std::string& name, std::span<float> values,
                            const Tensor& gradient, const std::function<double()>& loss,
                            float step = 4e-3f, double tolerance = 3e-3) {
  const std::vector<float> center(values.begin(), values.end());
  const auto g = gradient.values<const float>();
  ASSERT_EQ(g.size(), values.size()) << name;
  double norm = 0;
  for (const float x : g) norm += static_cast<double>(x) * static_cast<double>(x);
  norm = std::sqrt(norm);
  EXPECT_GT(norm, 0) << name;
  for (std::uint64_t direction = 0; direction < 3; ++direction) {
    const Random random(direction + 77, RandomPurpose::kTest, values.size());
    const auto sign = [&](std::size_t i) { return random.uniform(i) < 0.5f ? -1.0f : 1.0f; };
    const auto at = [&](float offset) {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = center[i] + offset * sign(i);
      return loss();
    };
    double analytic = 0;
    for (std::size_t i = 0; i < g.size(); ++i)
      analytic += static_cast<double>(g[i]) * static_cast<double>(sign(i));
    const double near = (at(step) - at(-step)) / (2.0 * static_cast<double>(step));
    const double far = (at(2 * step) - at(-2 * step)) / (4.0 * static_cast<double>(step));
    EXPECT_NEAR((4 * near - far) / 3, analytic, tolerance * norm) << name;
    std::copy(center.begin(), center.end(), values.begin());
  }
}

}  // namespace sluice::test
