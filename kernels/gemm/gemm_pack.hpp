// Inside the family: packing of operands into panels of 32-bit words, [K][width] words a panel.
#pragma once

#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {

namespace avx2 {
/// A word is an fp32 element; BF16 is widened.
void pack_floats(const PackJob& job);
}  // namespace avx2

namespace avx512 {
void pack_floats(const PackJob& job);
/// A word is two BF16 elements, neighbours along K.
void pack_bf16_pairs(const PackJob& job);
}  // namespace avx512

}  // namespace sluice::kernels
