// What each kernel set provides for RMSNorm and the residual. Ranges are rows, or columns for
// backward_weight.
#pragma once

#include <cmath>

#include "kernels/norm/rms_norm.hpp"

namespace sluice::kernels {

struct RmsNormForward {
  TensorView x, weight, y;
  float epsilon = 0;
  std::span<float> inverse_rms;
};

struct RmsNormBackwardInput {
  TensorView x, weight, dy, dx;
  std::span<const float> inverse_rms;
  bool accumulate = false;
};

struct RmsNormBackwardWeight {
  TensorView x, dy;
  std::span<const float> inverse_rms;
  std::span<float> dweight;
};

struct NormKernels {
  void (*forward)(const RmsNormForward& args, std::int64_t first, std::int64_t last);
  void (*backward_input)(const RmsNormBackwardInput& args, std::int64_t first, std::int64_t last);
  void (*backward_weight)(const RmsNormBackwardWeight& args, std::int64_t first, std::int64_t last);
  void (*add)(TensorView a, TensorView b, TensorView y, std::int64_t first, std::int64_t last);
};
namespace reference {
extern const NormKernels kNorm;
}
namespace avx2 {
extern const NormKernels kNorm;
}
namespace avx512 {
extern const NormKernels kNorm;
}

[[nodiscard]] inline float inverse_rms_of(float sum_of_squares, std::int64_t columns,
                                          float epsilon) {
  return 1.0f / std::sqrt(sum_of_squares / static_cast<float>(columns) + epsilon);
}

/// dx = inverse_rms · (dy · weight - x · k), where k is this of sum(dy · weight · x).
[[nodiscard]] inline float projection_of(float sum, std::int64_t columns, float inverse_rms) {
  return sum * inverse_rms * inverse_rms / static_cast<float>(columns);
}

}  // namespace sluice::kernels
