// AdamW in plain scalar code.
#include <array>
#include <cmath>

#include "kernels/cpu/lanes_math.hpp"
#include "kernels/optimizer/adamw_kernels.hpp"

namespace sluice::kernels::reference {
namespace {

void adamw(const AdamWArgs& args, std::int64_t first, std::int64_t last) {
  const AdamWFactors& f = args.factors;
  for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
    const float g = args.gradient[i] * f.scale;
    const float m = std::fma(g - args.m[i], f.one_minus_beta1, args.m[i]);
    const float v = std::fma(g * f.one_minus_beta2, g, args.v[i] * f.beta2);
    const float denominator = std::fma(std::sqrt(v), f.root_correction, f.epsilon);
    const float w = std::fma(-f.step_size, m / denominator, args.weight[i] * f.keep);
    args.m[i] = m;
    args.v[i] = v;
    args.weight[i] = w;
    if (!args.compute.empty()) args.compute[i] = BF16::from_float(w);
  }
}

double sum_of_squares(const float* values, std::int64_t count) {
  std::array<double, kLanes> lanes{};
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = values[i];
    lanes[static_cast<std::size_t>(i % kLanes)] += value * value;  // the product is exact
  }
  for (std::size_t half = kLanes / 2; half >= 1; half /= 2) {
    for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

}  // namespace

const OptimizerKernels kOptimizer{adamw, sum_of_squares};

}  // namespace sluice::kernels::reference
