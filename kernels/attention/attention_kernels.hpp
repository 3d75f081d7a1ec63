// The kernel sets behind kernels/attention/attention.hpp. Arguments are checked by the caller.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/cpu/lanes_math.hpp"

namespace sluice::kernels {

struct AttentionKernels {
  decltype(&attention) forward;
  decltype(&attention_backward) backward;
};
struct LatentAttentionKernels {
  decltype(&latent_attention) forward;
};

namespace reference {
extern const AttentionKernels kAttentionKernels;
extern const LatentAttentionKernels kLatentAttentionKernels;
}  // namespace reference
namespace avx2 {
extern const AttentionKernels kAttentionKernels;
extern const LatentAttentionKernels kLatentAttentionKernels;
}  // namespace avx2
namespace avx512 {
extern const AttentionKernels kAttentionKernels;
extern const LatentAttentionKernels kLatentAttentionKernels;
}  // namespace avx512

/// ln of the sum of a row's exponentials, from the row's maximum and the sum relative to it.
[[nodiscard]] inline float log_sum_exp_of(float maximum, float sum) {
  return static_cast<float>(static_cast<double>(maximum) + lane_log(static_cast<double>(sum)));
}

}  // namespace sluice::kernels
