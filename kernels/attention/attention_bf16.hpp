// Attention on BF16 dot products (AVX512-BF16 or AMX): a kernel set of its own, as in gemm.
//
// Numerics: the formulas of kernels/attention/attention.hpp in fp32, but every product takes BF16
// factors: e_ij and P_ij, and dS_ij, are rounded to BF16 before they are multiplied (sums of e_ij
// are taken before). The order inside a dot is the instruction's. Blocks are fixed by the set, so
// results do not depend on the number of threads.
#pragma once

#include "kernels/attention/attention.hpp"
#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels::avx512 {

/// `dots`: a set that multiplies pairs of BF16. All tensors are BF16.
void attention_bf16(const ComputeContext& context, const GemmKernelSet& dots,
                    const AttentionDesc& desc, TensorView q, TensorView kv, TensorView k_rope,
                    TensorView out, std::span<float> log_sum_exp);
void attention_backward_bf16(const ComputeContext& context, const GemmKernelSet& dots,
                             const AttentionDesc& desc, TensorView q, TensorView kv,
                             TensorView k_rope, TensorView out, std::span<const float> log_sum_exp,
                             TensorView dout, TensorView dq, TensorView dkv, TensorView dk_rope);

}  // namespace sluice::kernels::avx512
