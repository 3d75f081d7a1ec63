// SwiGLU with an optional weight per row: y = silu(gate) · up · row_weight.
//
// The routing weight of an expert multiplies here, before the down projection, as in V3's training
// kernels: the product is the same and its gradient needs no expert output. All tensors fp32 or
// BF16 (one kind); row weights fp32.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// gate_up [T, 2·F] (gate first, then up) -> y [T, F]. row_weight: T values, or empty for all ones.
void swiglu(const ComputeContext& context, TensorView gate_up, std::span<const float> row_weight,
            TensorView y);

/// dy [T, F] -> dgate_up [T, 2·F] and, where row_weight is given, drow_weight [T] (overwritten).
/// dgate_up may be the memory of gate_up.
void swiglu_backward(const ComputeContext& context, TensorView gate_up,
                     std::span<const float> row_weight, TensorView dy, TensorView dgate_up,
                     std::span<float> drow_weight);

}  // namespace sluice::kernels
