// Token embedding: a gather of rows, and its gradient, a scatter-add in row order.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// out.row(i) = table.row(tokens[i]); fp32 or BF16, converted when they differ.
void embed(const ComputeContext& context, TensorView table, std::span<const std::int32_t> tokens,
           TensorView out);

/// dtable.row(tokens[i]) += dout.row(i), i ascending. dtable fp32; split over columns, so any
/// thread count gives the same bits.
void embed_backward(const ComputeContext& context, std::span<const std::int32_t> tokens,
                    TensorView dout, TensorView dtable);

}  // namespace sluice::kernels
