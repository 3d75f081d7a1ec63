// Rotary position embedding in DeepSeek's interleaved layout: lanes (2i, 2i+1) of a head are one
// pair.
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
struct RopeHeads {
  std::int64_t heads = 1;
  std::int64_t head_stride = 0;
  std::int64_t first = 0;
  std::int64_t dim = 0;
};
void rope(const ComputeContext& context, const RopeTable& table,
          std::span<const std::int32_t> positions, RopeHeads heads, bool inverse, TensorView x);

}  // namespace sluice::kernels
