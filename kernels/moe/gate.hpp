// DeepSeek-V3's gate: sigmoid scores, group-limited top-k on biased scores, weights from the
// unbiased ones; and the sequence-wise balance loss (report eq. 12-20).
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

struct GateDesc {
  std::int64_t experts = 0;
  std::int64_t top_k = 0;        ///< num_experts_per_tok
  std::int64_t groups = 1;       ///< n_group, divides experts
  std::int64_t groups_kept = 1;  ///< topk_group
  bool normalize = true;         ///< norm_topk_prob
  float scaling = 1.0f;          ///< routed_scaling_factor
};

/// logits [T, E] fp32 -> scores [T, E] = sigmoid(logits); experts [T·K] ascending ids per token;
/// weights [T·K] in that order. Selection: c = score + bias; a group's score is the sum of its two
/// largest c (its only one in groups of one); the best `groups_kept` groups survive, others are
/// -inf; then the `top_k` largest c. Ties go to the lower index.
void gate(const ComputeContext& context, const GateDesc& desc, TensorView logits,
          std::span<const float> bias, TensorView scores, std::span<std::int32_t> experts,
          std::span<float> weights);

/// dlogits [T, E] fp32 (overwritten) from dweights [T·K], through scaling, normalisation and
/// sigmoid.
void gate_backward(const ComputeContext& context, const GateDesc& desc, TensorView scores,
                   std::span<const std::int32_t> experts, std::span<const float> dweights,
                   TensorView dlogits);

/// Sequence-wise balance loss: rows are `sequences` runs of equal length. Returns the sum over
/// sequences of sum_i f_i P_i (fp64). When dlogits has rows, adds `dloss` · d(sum)/d(logits) to it
/// (f is a constant: it counts).
[[nodiscard]] double balance_loss(const ComputeContext& context, const GateDesc& desc,
                                  std::int64_t sequences, TensorView scores, float dloss,
                                  TensorView dlogits);

}  // namespace sluice::kernels
