// Kernel sets of fp32 FMAs.
#include <array>
#include <utility>

#include "kernels/gemm/gemm_kernel_set.hpp"
#include "kernels/gemm/gemm_pack.hpp"

#define SLUICE_ISA_SOURCE "kernels/gemm/gemm_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
#include "kernels/gemm/gemm_tile.hpp"

namespace sluice::kernels::SLUICE_ISA {
namespace {

// Rows x lanes of sums, the lanes of B and one of A fill the registers (32 zmm, 16 ymm).
#if SLUICE_ISA_IS_AVX512
constexpr int kTileRows = 14;
constexpr int kTileLanes = 2;
constexpr int kPeakChains = 12;
#else
constexpr int kTileRows = 6;
constexpr int kTileLanes = 1;
constexpr int kPeakChains = 6;  // of two registers
#endif

struct Floats {
  static constexpr std::int64_t kElements = 1;
  static constexpr bool kBroadcasts = SLUICE_ISA_IS_AVX512 != 0;
  SLUICE_INLINE static Lanes multiply_add(Lanes left, Lanes right, Lanes sum) {
    return fma(left, right, sum);
  }
  SLUICE_INLINE static void store_rounded(BF16* to, Lanes sums, std::int64_t n) {
    store_up_to(to, sums, n);
  }
};

}  // namespace

void round_to_bf16(const RoundJob& job) { round_tile<Floats>(job); }

const GemmKernelSet kGemmFloats{.name = SLUICE_ISA_IS_AVX512 ? "avx512" : "avx2",
                                .rows = kTileRows,
                                .columns = kTileLanes * kLanes,
                                .narrow_columns = kLanes,
                                .k_unit = Floats::kElements,
                                .element_bytes = sizeof(float),
                                .pack_a = &pack_floats,
                                .pack_b = &pack_floats,
                                .tile = &tile<Floats, kTileRows, kTileLanes>,
                                .round = &round_to_bf16,
                                .burst = &burst<Floats, kPeakChains>,
                                .begin = nullptr,
                                .end = nullptr};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
