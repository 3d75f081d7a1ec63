// Checks attention's arguments and hands them to the kernel set that the context names.
#include "kernels/attention/attention.hpp"

#include "kernels/attention/attention_bf16.hpp"
#include "kernels/attention/attention_kernels.hpp"
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"

namespace sluice::kernels {
namespace {

// The set of BF16 dot products for such tensors, or null where products are fp32.
const GemmKernelSet* bf16_dots(const ComputeContext& context, DType dtype) {
  if (dtype != DType::kBF16) return nullptr;
  if (!context.bf16.avx512_bf16 && !context.bf16.amx_bf16) return nullptr;
  return choose_gemm_kernels(context, dtype);
}

void check_matrix(const TensorView& view, DType dtype, std::int64_t rows, std::int64_t columns) {
  SLUICE_CHECK(view.dtype == dtype, "{} where {} is expected", name_of(view.dtype), name_of(dtype));
  SLUICE_CHECK_EQ(view.rows, rows);
  SLUICE_CHECK_EQ(view.columns, columns);
  SLUICE_CHECK_GE(view.row_stride, columns);
}

void check_inputs(const AttentionDesc& desc, TensorView q, TensorView kv, TensorView k_rope,
                  std::size_t log_sum_exp_count) {
  check_element(q.dtype);
  SLUICE_CHECK(desc.sequences >= 0 && desc.length >= 0 && desc.heads >= 1);
  SLUICE_CHECK(desc.nope >= 0 && desc.rope >= 0 && desc.value >= 1);
  const std::int64_t rows = desc.sequences * desc.length;
  check_matrix(q, q.dtype, rows, desc.heads * (desc.nope + desc.rope));
  check_matrix(kv, q.dtype, rows, desc.heads * (desc.nope + desc.value));
  check_matrix(k_rope, q.dtype, rows, desc.rope);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(log_sum_exp_count), rows * desc.heads);
}

// Pairs (query, key it may see) over all sequences and heads.
double pairs(const AttentionDesc& desc) {
  const auto length = static_cast<double>(desc.length);
  return static_cast<double>(desc.sequences * desc.heads) * length * (length + 1) / 2;
}

}  // namespace

double attention_operations(const AttentionDesc& desc) {
  return 2 * pairs(desc) * static_cast<double>(desc.nope + desc.rope + desc.value);
}

double attention_backward_operations(const AttentionDesc& desc) {
  return 2 * pairs(desc) * static_cast<double>(3 * (desc.nope + desc.rope) + 2 * desc.value);
}

void attention(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
               TensorView kv, TensorView k_rope, TensorView out, std::span<float> log_sum_exp) {
  check_inputs(desc, q, kv, k_rope, log_sum_exp.size());
  check_matrix(out, q.dtype, q.rows, desc.heads * desc.value);
  const ProfileScope scope(context, "attention", attention_operations(desc));
  if (const GemmKernelSet* dots = bf16_dots(context, q.dtype)) {
    return avx512::attention_bf16(context, *dots, desc, q, kv, k_rope, out, log_sum_exp);
  }
  const AttentionForward kernel =
      select(context.isa, reference::kAttention, avx2::kAttention, avx512::kAttention);
  kernel(context, desc, q, kv, k_rope, out, log_sum_exp);
}

void attention_backward(const ComputeContext& context, const AttentionDesc& desc, TensorView q,
                        TensorView kv, TensorView k_rope, TensorView out,
                        std::span<const float> log_sum_exp, TensorView dout, TensorView dq,
                        TensorView dkv, TensorView dk_rope) {
  check_inputs(desc, q, kv, k_rope, log_sum_exp.size());
  check_matrix(out, q.dtype, q.rows, desc.heads * desc.value);
  check_matrix(dout, q.dtype, out.rows, out.columns);
  check_matrix(dq, q.dtype, q.rows, q.columns);
  check_matrix(dkv, q.dtype, kv.rows, kv.columns);
  check_matrix(dk_rope, q.dtype, k_rope.rows, k_rope.columns);
  const ProfileScope scope(context, "attention_backward", attention_backward_operations(desc));
  if (const GemmKernelSet* dots = bf16_dots(context, q.dtype)) {
    return avx512::attention_backward_bf16(context, *dots, desc, q, kv, k_rope, out, log_sum_exp,
                                           dout, dq, dkv, dk_rope);
  }
  const AttentionBackward kernel = select(context.isa, reference::kAttentionBackward,
                                          avx2::kAttentionBackward, avx512::kAttentionBackward);
  kernel(context, desc, q, kv, k_rope, out, log_sum_exp, dout, dq, dkv, dk_rope);
}

void latent_attention(const ComputeContext& context, std::int64_t heads, std::int64_t rank,
                      std::int64_t rope, float scale, TensorView q_absorbed, LatentCacheView cache,
                      TensorView out) {
  const DType dtype = q_absorbed.dtype;
  check_element(dtype);
  SLUICE_CHECK(heads >= 1 && rank >= 1 && rope >= 0);
  SLUICE_CHECK_LE(q_absorbed.rows, cache.length);
  SLUICE_CHECK_LE(cache.length, cache.rows.rows);
  check_matrix(q_absorbed, dtype, q_absorbed.rows, heads * (rank + rope));
  check_matrix(cache.rows, dtype, cache.rows.rows, rank + rope);
  check_matrix(out, dtype, q_absorbed.rows, heads * rank);
  const ProfileScope scope(context, "latent_attention",
                           static_cast<double>(2 * q_absorbed.rows * heads * cache.length) *
                               static_cast<double>(2 * rank + rope));
  const LatentAttention kernel = select(context.isa, reference::kLatentAttention,
                                        avx2::kLatentAttention, avx512::kLatentAttention);
  kernel(context, heads, rank, rope, scale, q_absorbed, cache, out);
}

}  // namespace sluice::kernels
