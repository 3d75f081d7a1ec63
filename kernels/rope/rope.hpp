// Rotary position embedding, in DeepSeek's interleaved layout (columns 2i and 2i+1 of a head are a
// pair) or in halves (columns i and i + dim / 2 are), as transformers' rope_interleave = false.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// cos and sin by position, [positions, dim / 2] fp32 each. Made by graph/model/rope_table.hpp
/// (YaRN lives there).
struct RopeTable {
  Tensor cosine;
  Tensor sine;
};

/// Rotates in place x [T, heads · head_stride]: of each head, columns [first, first + dim). Row t
/// has position positions[t]. `inverse` rotates back (the gradient). fp32 inside; x fp32 or BF16.
/// A pair (a, b) becomes (fma(a, cos, -b · sin), fma(b, cos, a · sin)).
struct RopeHeads {
  std::int64_t heads = 1;
  std::int64_t head_stride = 0;
  std::int64_t first = 0;
  std::int64_t dim = 0;     ///< even
  bool interleaved = true;  ///< pairs (2i, 2i+1), else (i, i + dim / 2)
};
void rope(const ComputeContext& context, const RopeTable& table,
          std::span<const std::int32_t> positions, RopeHeads heads, bool inverse, TensorView x);

}  // namespace sluice::kernels
