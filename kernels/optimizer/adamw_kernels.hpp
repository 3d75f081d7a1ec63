// What each kernel set provides for AdamW. Ranges are elements.
#pragma once

#include "kernels/optimizer/adamw.hpp"

namespace sluice::kernels {

/// AdamWDesc worked out once a tensor, so that an element costs one division and one root:
///   g = gradient · scale
///   m = fma(g - m, one_minus_beta1, m)
///   v = fma(g · one_minus_beta2, g, v · beta2)
///   w = fma(-step_size, m / fma(sqrt(v), root_correction, epsilon), w · keep)
struct AdamWFactors {
  float scale = 1;
  float one_minus_beta1 = 0;
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float root_correction = 1;  ///< 1 / sqrt(1 - beta2^step)
  float epsilon = 0;
  float step_size = 0;  ///< learning_rate / (1 - beta1^step)
  float keep = 1;       ///< 1 - learning_rate · weight_decay
};

struct AdamWArgs {
  AdamWFactors factors;
  std::span<const float> gradient;
  std::span<float> weight, m, v;
  std::span<BF16> compute;
};

struct OptimizerKernels {
  void (*adamw)(const AdamWArgs& args, std::int64_t first, std::int64_t last);
  /// In 16 fp64 lanes and a fixed tree.
  double (*sum_of_squares)(const float* values, std::int64_t count);
};
namespace reference {
extern const OptimizerKernels kOptimizer;
}
namespace avx2 {
extern const OptimizerKernels kOptimizer;
}
namespace avx512 {
extern const OptimizerKernels kOptimizer;
}

}  // namespace sluice::kernels
