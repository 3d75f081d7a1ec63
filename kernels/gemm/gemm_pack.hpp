// Inside the family: packing of operands into panels, and rounding of results.
//
// Panels of words are [K][width] 32-bit words.
#pragma once

#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {

namespace avx2 {
/// A word is an fp32 element; BF16 is widened.
void pack_floats(const PackJob& job);
/// GemmKernelSet::round.
void round_to_bf16(const RoundJob& job);
}  // namespace avx2

namespace avx512 {
void pack_floats(const PackJob& job);
/// A word is two BF16 elements, neighbours along K.
void pack_bf16_pairs(const PackJob& job);
/// [K/32][width][32 elements along K]: AMX's left operand.
void pack_bf16_rows(const PackJob& job);
void round_to_bf16(const RoundJob& job);
}  // namespace avx512

namespace avx512_bf16 {
/// One instruction where the others take nine; a denormal becomes zero.
void round_to_bf16(const RoundJob& job);
}  // namespace avx512_bf16

}  // namespace sluice::kernels
