// The arithmetic peak of this machine, measured: multiply-adds on registers and nothing else. It is
// what a GEMM's speed is compared with.
#pragma once

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// Multiply-adds for `seconds` on every thread of the context's team, by the instruction that
/// products of such operands use. GFLOP/s, a multiply-add being two operations; 0 for the
/// reference, whose instructions the compiler chooses.
[[nodiscard]] double measure_peak_gflops(const ComputeContext& context, DType operands,
                                         double seconds = 1e-3);

}  // namespace sluice::kernels
