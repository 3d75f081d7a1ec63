// The kernel set of AVX512-BF16 dot products: vdpbf16ps multiplies two neighbours along K and adds
// both products to an fp32 sum, with denormals as zeros and a rounding of its own. vcvtneps2bf16
// rounds the sums to nearest even, denormals as zeros too.
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
};

}  // namespace

void round_to_bf16(const RoundJob& job) {
  const RoundJob j = job;  // a copy, which stores to BF16 cannot change
  for (std::int64_t row = 0; row < j.rows; ++row) {
    const float* from = j.from + row * j.from_stride;
    BF16* to = j.to + row * j.to_stride;
    std::int64_t i = 0;
    for (; i + kLanes <= j.columns; i += kLanes) {
      const auto rounded = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(load(from + i).v));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), rounded);
    }
    if (i == j.columns) continue;
    const Lanes last = load_first(from + i, j.columns - i);
    _mm256_mask_storeu_epi16(to + i, first_lanes(j.columns - i),
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(last.v)));
  }
}

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
