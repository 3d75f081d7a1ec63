// What each kernel set provides for cross entropy. Ranges are rows.
#pragma once

#include "kernels/cpu/lanes_math.hpp"
#include "kernels/loss/cross_entropy.hpp"

namespace sluice::kernels {

struct CrossEntropyArgs {
  TensorView logits;
  std::span<const std::int32_t> targets;
  float dloss = 0;
  std::span<float> losses;
  TensorView dlogits;  ///< no rows: the loss alone
};

struct CrossEntropyKernels {
  void (*rows)(const CrossEntropyArgs& args, std::int64_t first, std::int64_t last);
};
namespace reference {
extern const CrossEntropyKernels kCrossEntropy;
}
namespace avx2 {
extern const CrossEntropyKernels kCrossEntropy;
}
namespace avx512 {
extern const CrossEntropyKernels kCrossEntropy;
}

/// -log(e^(target - largest) / sum), where sum is that of e^(logit - largest).
[[nodiscard]] inline float loss_of(float sum, float largest, float target) {
  return static_cast<float>(lane_log(static_cast<double>(sum)) -
                            (static_cast<double>(target) - static_cast<double>(largest)));
}

/// The gradient at the target; elsewhere it is e^(logit - largest) · scale.
[[nodiscard]] inline float target_gradient(float target, float largest, float scale, float dloss) {
  return lane_exp(target - largest) * scale - dloss;
}

}  // namespace sluice::kernels
