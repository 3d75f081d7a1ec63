// RMSNorm and its gradients: y = x · rsqrt(mean(x²) + epsilon) · weight, row by row.
//
// Numerics: a row's sum runs in 16 lanes (element i goes to lane i mod 16, in order) folded by a
// fixed tree; see kernels/cpu/lanes.hpp. x, y, dy, dx: fp32 or BF16 (all the same); weight: same or
// fp32; sums and dweight: fp32.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// x [T, H] -> y [T, H]; inverse_rms [T, 1] fp32 is kept for backward (may be empty: not kept).
void rms_norm(const ComputeContext& context, TensorView x, TensorView weight, float epsilon,
              TensorView y, std::span<float> inverse_rms);

/// dx [T, H] (overwritten, or added to with accumulate) from dy.
void rms_norm_backward_input(const ComputeContext& context, TensorView x, TensorView weight,
                             std::span<const float> inverse_rms, TensorView dy, TensorView dx,
                             bool accumulate);

/// dweight [1, H] fp32 += sum over rows, in row order, of dy · x · inverse_rms.
void rms_norm_backward_weight(const ComputeContext& context, TensorView x,
                              std::span<const float> inverse_rms, TensorView dy,
                              std::span<float> dweight);

/// y = a + b elementwise (the residual). Any of them may be the same memory. fp32 or BF16.
void add(const ComputeContext& context, TensorView a, TensorView b, TensorView y);

}  // namespace sluice::kernels
