// Gradients by central differences in fp64, to hold kernels' gradients against.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace sluice::test {

/// df/dx at x; the error is of the order of step² and of 1e-16 / step.
[[nodiscard]] inline std::vector<double> numeric_gradient(
    const std::function<double(std::span<const double>)>& f, std::vector<double> x,
    double step = 1e-5) {
  std::vector<double> gradient;
  for (double& value : x) {
    const double center = value;
    value = center + step;
    const double above = f(x);
    value = center - step;
    const double below = f(x);
    value = center;
    gradient.push_back((above - below) / (2 * step));
  }
  return gradient;
}

/// sum of a_i · b_i.
[[nodiscard]] inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace sluice::test
