// Softmax cross entropy, forward and gradient in one pass over the logits.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// logits [T, V] (fp32 or BF16) and targets [T] -> losses [T] fp32 (natural log). When dlogits has
/// rows, it becomes `dloss` · (softmax - onehot); it may be the same memory as logits. A target of
/// -1 is ignored: loss 0, gradient 0.
void cross_entropy(const ComputeContext& context, TensorView logits,
                   std::span<const std::int32_t> targets, float dloss, std::span<float> losses,
                   TensorView dlogits);

}  // namespace sluice::kernels
