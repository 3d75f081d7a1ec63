// Between element types: BF16, FP16 and block-scaled FP8 (E4M3) to fp32 and back.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// Elementwise copy with conversion among fp32, BF16, FP16 and fp64 (to fp32 exactly; from fp32
/// rounded to nearest even).
void convert(const ComputeContext& context, TensorView from, TensorView to);

/// E4M3 (bias 7, no infinities, 0x7f and 0xff are NaN).
[[nodiscard]] float e4m3_to_float(std::uint8_t bits);
[[nodiscard]] std::uint8_t float_to_e4m3(
    float value);  // nearest even; |value| > 448 saturates; NaN stays

/// w [N, K] e4m3 times scale_inv [ceil(N/128), ceil(K/128)] fp32 by 128x128 block -> out [N, K]
/// fp32.
void dequantize_blocks(const ComputeContext& context, TensorView w, TensorView scale_inv,
                       TensorView out);
/// The inverse: scale_inv = max(|block|, 1e-4) / 448, w = block / scale_inv.
void quantize_blocks(const ComputeContext& context, TensorView in, TensorView w,
                     TensorView scale_inv);

}  // namespace sluice::kernels
