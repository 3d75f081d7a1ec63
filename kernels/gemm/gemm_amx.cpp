// The kernel set of AMX BF16 dot products. Who has AMX has AVX512-BF16 too (bf16_features()).
#include "kernels/gemm/gemm_amx.hpp"

#include "kernels/gemm/amx_tiles.hpp"
#include "kernels/gemm/gemm_pack.hpp"

namespace sluice::kernels::amx_bf16 {

const GemmKernelSet kGemm = make_amx_kernels<MachineTiles>(
    "amx_bf16", &avx512::pack_bf16_rows, &avx512::pack_bf16_pairs, &avx512_bf16::round_to_bf16);

}  // namespace sluice::kernels::amx_bf16
