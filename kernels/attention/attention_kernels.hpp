// The kernel sets behind kernels/attention/attention.hpp. Arguments are checked by the caller.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/cpu/lanes_math.hpp"

namespace sluice::kernels {

using AttentionForward = decltype(&attention);
using AttentionBackward = decltype(&attention_backward);
using LatentAttention = decltype(&latent_attention);

namespace reference {
extern const AttentionForward kAttention;
extern const AttentionBackward kAttentionBackward;
extern const LatentAttention kLatentAttention;
}  // namespace reference
namespace avx2 {
extern const AttentionForward kAttention;
extern const AttentionBackward kAttentionBackward;
extern const LatentAttention kLatentAttention;
}  // namespace avx2
namespace avx512 {
extern const AttentionForward kAttention;
extern const AttentionBackward kAttentionBackward;
extern const LatentAttention kLatentAttention;
}  // namespace avx512

/// ln of the sum of a row's exponentials, from the row's maximum and the sum relative to it.
[[nodiscard]] inline float log_sum_exp_of(float maximum, float sum) {
  return static_cast<float>(static_cast<double>(maximum) + lane_log(static_cast<double>(sum)));
}

}  // namespace sluice::kernels
