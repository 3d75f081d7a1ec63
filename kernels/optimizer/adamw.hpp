// AdamW with decoupled decay and bias correction, and the sum of squares that global-norm clipping
// needs.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// Rates are fp64, as users write them: 1 - beta2 loses half its digits when 0.999 is an fp32.
struct AdamWDesc {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;   ///< of this tensor: 0 for vectors
  float gradient_scale = 1;  ///< the clipping factor, multiplied to the gradient first
  std::int64_t step = 1;     ///< 1 for the first update (bias correction)
};

/// One update of `weight` (fp32 master). m, v: fp32. `compute`: the BF16 copy to refresh, or empty.
void adamw(const ComputeContext& context, const AdamWDesc& desc, std::span<const float> gradient,
           std::span<float> weight, std::span<float> m, std::span<float> v,
           std::span<BF16> compute);

/// Sum of squares in fp64: 16 lanes inside blocks of 65,536 elements, blocks added in order.
[[nodiscard]] double sum_of_squares(const ComputeContext& context, std::span<const float> values);

/// values = 0.
void clear(const ComputeContext& context, std::span<float> values);

}  // namespace sluice::kernels
