// Matrix products, single and grouped by expert, with operands packed once where they repeat.
//
// Numerics: an fp32 output element is one chain of fused multiply-adds along K, k = 0, 1, ...,
// starting from 0 or, with `accumulate`, from what C holds. That order holds for every kernel set,
// blocking and number of threads, so results are the same bits. BF16 operands are widened to fp32
// (exactly) and follow the same chain, unless the context allows BF16 dot products (avx512_bf16,
// amx_bf16): those are kernel sets of their own.
//
// A [M, K] · B [K, N] -> C [M, N]. A and B: fp32 or BF16 (both the same). C: fp32, or BF16 rounded
// once at the end (not with accumulate).
#pragma once

#include <span>
#include <string_view>

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// How an operand lies in memory: as written above, or transposed (A stored [K, M], B stored [N,
/// K]).
enum class Layout { kNormal, kTransposed };

struct GemmKernelSet;  // kernels/gemm/gemm_kernel_set.hpp

/// The right operand B [K, N] rearranged into the panels that the micro-kernel reads. Packed for
/// one kernel set; `pack` again after the values change (buffers are reused when the shape is the
/// same).
class PackedB {
 public:
  PackedB() = default;
  /// `b`: [K, N] for kNormal, [N, K] for kTransposed.
  void pack(const ComputeContext& context, TensorView b, Layout layout);
  /// The set it was packed for; null for the reference, or before `pack`. Products check it.
  [[nodiscard]] const GemmKernelSet* kernels() const { return kernels_; }
  [[nodiscard]] std::int64_t k() const { return k_; }
  [[nodiscard]] std::int64_t n() const { return n_; }
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] const std::byte* panels() const { return panels_.bytes(); }
  [[nodiscard]] bool empty() const { return panels_.empty(); }
  /// Bytes that `pack` will take for such an operand.
  [[nodiscard]] static std::size_t size_bytes(const ComputeContext& context, DType dtype,
                                              std::int64_t k, std::int64_t n);

 private:
  std::int64_t k_ = 0;
  std::int64_t n_ = 0;
  DType dtype_ = DType::kF32;
  const GemmKernelSet* kernels_ = nullptr;
  Tensor panels_;
};

/// c = a · b, or c += a · b with accumulate. `a` [M, K] (or [K, M] when transposed).
void gemm(const ComputeContext& context, TensorView a, Layout a_layout, TensorView b,
          Layout b_layout, TensorView c, bool accumulate = false);
void gemm(const ComputeContext& context, TensorView a, Layout a_layout, const PackedB& b,
          TensorView c, bool accumulate = false);

/// Products of consecutive row groups: rows [offsets[g], offsets[g+1]) of A and C with b[g]. Groups
/// may be empty. `row_index` (optional, one entry a row of C): row r of A is a.row(row_index[r]);
/// the gather costs nothing extra.
void grouped_gemm(const ComputeContext& context, TensorView a,
                  std::span<const std::int32_t> row_index, std::span<const std::int32_t> offsets,
                  std::span<const PackedB* const> b, TensorView c);

/// The same with right operands as they lie in memory, b[g] [K, N] or [N, K]. Worth it where each
/// meets some hundred rows and then changes: packing it costs as much as reading it.
void grouped_gemm(const ComputeContext& context, TensorView a,
                  std::span<const std::int32_t> row_index, std::span<const std::int32_t> offsets,
                  std::span<const TensorView> b, Layout b_layout, TensorView c);

/// Weight gradients of grouped products: c[g] += a[rows of g]ᵀ · b[rows of g], chained along rows
/// in order. a [R, M], b [R, N] (`b_row_index` optional, as above), c[g] fp32 [M, N].
void grouped_gemm_weights(const ComputeContext& context, TensorView a, TensorView b,
                          std::span<const std::int32_t> b_row_index,
                          std::span<const std::int32_t> offsets, std::span<const TensorView> c);

/// The kernel set that runs products of such operands: "reference", "avx2", "avx512", "avx512_bf16"
/// or "amx_bf16". BF16 dot products are taken wherever the context allows them.
[[nodiscard]] std::string_view gemm_kernel_set_name(const ComputeContext& context, DType operands);

/// Operations of one product, 2·M·N·K.
[[nodiscard]] constexpr double gemm_operations(std::int64_t m, std::int64_t n, std::int64_t k) {
  return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
}

}  // namespace sluice::kernels
