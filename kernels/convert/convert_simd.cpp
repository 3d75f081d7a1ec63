// Conversions among fp32, BF16 and FP16 in 16 lanes; pairs that no hot path has go the plain way.
#include <cstring>

#include "kernels/convert/convert_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/convert/convert_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

SLUICE_INLINE Lanes load(const F16* p) {
  const auto* h = reinterpret_cast<const __m128i*>(p);
#if SLUICE_ISA_IS_AVX512
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(h)))};
#else
  return {_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
#endif
}

SLUICE_INLINE void store(F16* p, Lanes a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  auto* h = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(h, _mm256_cvtps_ph(low_half(a), kNearest));
  _mm_storeu_si128(h + 1, _mm256_cvtps_ph(high_half(a), kNearest));
}

template <class From, class To>
void run_as(const void* from, void* to, std::int64_t count) {
  const auto* source = static_cast<const From*>(from);
  auto* target = static_cast<To*>(to);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(target + i, load(source + i));
  if (i == count) return;
  const auto rest = static_cast<std::size_t>(count - i);
  From source_buffer[kLanes] = {};
  To target_buffer[kLanes];
  std::memcpy(source_buffer, source + i, rest * sizeof(From));
  store(target_buffer, load(source_buffer));
  std::memcpy(target + i, target_buffer, rest * sizeof(To));
}

void run(const void* from, DType from_type, void* to, DType to_type, std::int64_t count) {
  constexpr auto pair = [](DType a, DType b) {
    return static_cast<int>(a) * 16 + static_cast<int>(b);
  };
  switch (pair(from_type, to_type)) {
    case pair(DType::kF32, DType::kBF16): return run_as<float, BF16>(from, to, count);
    case pair(DType::kF32, DType::kF16): return run_as<float, F16>(from, to, count);
    case pair(DType::kBF16, DType::kF32): return run_as<BF16, float>(from, to, count);
    case pair(DType::kBF16, DType::kF16): return run_as<BF16, F16>(from, to, count);
    case pair(DType::kF16, DType::kF32): return run_as<F16, float>(from, to, count);
    case pair(DType::kF16, DType::kBF16): return run_as<F16, BF16>(from, to, count);
    default: return reference::kConvert.run(from, from_type, to, to_type, count);
  }
}

}  // namespace

const ConvertKernels kConvert{run};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
