// Targets and inputs out of a micro-batch's tokens.
#pragma once

#include <algorithm>

#include "kernels/cpu/compute_context.hpp"

namespace sluice::actors {

/// Columns [first, first + length) of tokens i32 [B, W], as i32 [B · length].
[[nodiscard]] inline Tensor token_columns(const kernels::ComputeContext& context,
                                          const Tensor& tokens, std::int64_t first,
                                          std::int64_t length) {
  const auto all = tokens.matrix<std::int32_t>();
  Tensor out = context.make(DType::kI32, Shape{all.rows * length});
  std::int32_t* to = out.values<std::int32_t>().data();
  for (std::int64_t b = 0; b < all.rows; ++b)
    std::copy_n(all.row(b) + first, length, to + b * length);
  return out;
}

}  // namespace sluice::actors
