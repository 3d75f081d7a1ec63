// Causal multi-head attention for MLA: the naive form for training, the absorbed form for decoding
// from the latent cache.
//
// Numerics: scores are FMA chains along the head dimension (the nope part, then the rope part, one
// chain); a row's maximum and sum of exponentials run in 16 lanes and a fixed tree; the value
// product is one FMA chain along keys in order.
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
/// the caller.
void latent_attention(const ComputeContext& context, std::int64_t heads, std::int64_t rank,
                      std::int64_t rope, float scale, TensorView q_absorbed, LatentCacheView cache,
                      TensorView out);

}  // namespace sluice::kernels
