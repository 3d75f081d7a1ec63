// The kernel set of AVX512-BF16 dot products: vdpbf16ps multiplies two neighbours along K and adds
// both products to an fp32 sum, with denormals as zeros and a rounding of its own. vcvtneps2bf16
// rounds the sums to nearest even, denormals as zeros too.
#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cpu/lanes_includes.hpp"
#include "kernels/gemm/gemm_kernel_set.hpp"
#include "kernels/gemm/gemm_pack.hpp"

#define SLUICE_ISA avx512_bf16
#define SLUICE_ISA_IS_AVX512 1
#pragma GCC push_options
#pragma GCC target( \
    "avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,prefer-vector-width=512")
#include "kernels/cpu/lanes.hpp"
#include "kernels/gemm/gemm_tile.hpp"

namespace sluice::kernels::avx512_bf16 {
namespace {

constexpr int kTileRows = 14;
constexpr int kTileLanes = 2;
constexpr int kPeakChains = 12;

struct Bf16Pairs {
  static constexpr std::int64_t kElements = 2;
  static constexpr bool kBroadcasts = false;
  SLUICE_INLINE static Lanes multiply_add(Lanes left, Lanes right, Lanes sum) {
    return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(left.v),
                             reinterpret_cast<__m512bh>(right.v))};
  }
  SLUICE_INLINE static void store_rounded(BF16* to, Lanes sums, std::int64_t n) {
    _mm256_mask_storeu_epi16(to, first_lanes(std::min<std::int64_t>(n, kLanes)),
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sums.v)));
  }
};

}  // namespace

void round_to_bf16(const RoundJob& job) { round_tile<Bf16Pairs>(job); }

const GemmKernelSet kGemm{.name = "avx512_bf16",
                          .rows = kTileRows,
                          .columns = kTileLanes * kLanes,
                          .narrow_columns = kLanes,
                          .k_unit = Bf16Pairs::kElements,
                          .element_bytes = sizeof(BF16),
                          .pack_a = &avx512::pack_bf16_pairs,
                          .pack_b = &avx512::pack_bf16_pairs,
                          .tile = &tile<Bf16Pairs, kTileRows, kTileLanes>,
                          .round = &round_to_bf16,
                          .burst = &burst<Bf16Pairs, kPeakChains>,
                          .begin = nullptr,
                          .end = nullptr};

}  // namespace sluice::kernels::avx512_bf16
#pragma GCC pop_options
