// Causal multi-head attention for MLA: the naive form for training, the absorbed form for decoding
// from the latent cache.
//
// Elements are fp32 or BF16, all tensors of a call alike (BF16 is widened exactly and results are
// rounded once); everything inside is fp32. Row strides may exceed the width. Where the context
// allows BF16 dot products, BF16 attention (not the latent form) is another kernel set:
// kernels/attention/attention_bf16.hpp.
//
// Numerics, the same bits for every kernel set and number of threads. "Chain" is one chain of FMAs
// in index order, starting from 0; i is a query, j a key (j <= i), d a column of a head.
//   s_ij   = scale · chain over d of q_id · k_jd, the nope part, then the rope part
//   m_i    = max over j of s_ij;  e_ij = lane_exp(s_ij - m_i);  l_i = sum of e_ij in 16 lanes
//   out_id = (chain over j of e_ij · v_jd) · (1 / l_i);  log_sum_exp_i = m_i + ln l_i
// and backward:
//   P_ij     = lane_exp(s_ij - log_sum_exp_i)
//   delta_i  = sum over d of dout_id · out_id, fused, in 16 lanes
//   dP_ij    = chain over d of dout_id · v_jd;  dS_ij = (P_ij · (dP_ij - delta_i)) · scale
//   dS_00    = 0: the softmax of one key is constant, and rounding must not tell otherwise
//   dq_id    = chain over j of dS_ij · k_jd
//   dk_jd    = chain over i of dS_ij · q_id;  dv_jd = chain over i of P_ij · dout_id
//   dk_rope  = the heads' own sums, added in head order
// "In 16 lanes": kernels/cpu/lanes_math.hpp.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// sequences · length rows. q [T, heads · (nope + rope)]; the last `rope` columns of a head are the
/// rotated part. kv [T, heads · (nope + value)]: per head k_nope then v. k_rope [T, rope], one head
/// shared by all.
struct AttentionDesc {
  std::int64_t sequences = 1;
  std::int64_t length = 0;
  std::int64_t heads = 1;
  std::int64_t nope = 0;
  std::int64_t rope = 0;
  std::int64_t value = 0;
  float scale = 1.0f;  ///< of the scores, YaRN's mscale² included
};

/// out [T, heads · value]; log_sum_exp [T · heads] fp32 (row t, head h at t · heads + h) is kept
/// for backward.
void attention(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
               TensorView kv, TensorView k_rope, TensorView out, std::span<float> log_sum_exp);

/// Gradients, all overwritten: dq, dkv, dk_rope (the sum over heads in head order, fp32 inside).
void attention_backward(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
                        TensorView kv, TensorView k_rope, TensorView out,
                        std::span<const float> log_sum_exp, TensorView dout, TensorView dq,
                        TensorView dkv, TensorView dk_rope);

/// One sequence's latent cache: `length` rows of [kv_lora_rank normed latent | rotated k_rope].
struct LatentCacheView {
  TensorView rows;
  std::int64_t length = 0;
};

/// Absorbed attention of the last `queries` positions of one sequence over its cache (which already
/// holds them). q_absorbed [queries, heads · (rank + rope)]: W^UK applied to the nope part, then
/// the rotated part. out [queries, heads · rank]: probabilities times latents; W^UV is applied by
/// the caller. Query i of n sees the first length - n + i + 1 rows. The sums are those of
/// `attention`, with a cache row as key and its first `rank` columns as value.
void latent_attention(const ComputeContext& context, std::int64_t heads, std::int64_t rank,
                      std::int64_t rope, float scale, TensorView q_absorbed, LatentCacheView cache,
                      TensorView out);

/// Floating-point operations of the causal half (the scores and values a query may see).
[[nodiscard]] double attention_operations(const AttentionDesc& desc);
[[nodiscard]] double attention_backward_operations(const AttentionDesc& desc);

}  // namespace sluice::kernels
