// Lanes: 16 floats as one AVX-512 or two AVX2 registers, with the same result bits as
// kernels/cpu/lanes_math.hpp.
//
// Included by for_each_isa.hpp once per kernel set (no include guard on purpose). Everything is
// forced inline.

#define SLUICE_INLINE inline __attribute__((always_inline))

namespace sluice::kernels::SLUICE_ISA {
namespace {

#if SLUICE_ISA_IS_AVX512

struct Lanes {
  __m512 v;
};
SLUICE_INLINE Lanes zero() { return {_mm512_setzero_ps()}; }
SLUICE_INLINE Lanes set1(float x) { return {_mm512_set1_ps(x)}; }
SLUICE_INLINE Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
SLUICE_INLINE Lanes load(const BF16* p) {
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))};
}
SLUICE_INLINE __mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>((1u << n) - 1u);
}
/// The first n lanes from memory (n < 16), zeros behind.
SLUICE_INLINE Lanes load_first(const float* p, std::int64_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
SLUICE_INLINE Lanes load_first(const BF16* p, std::int64_t n) {
  const __m256i h = _mm256_maskz_loadu_epi16(first_lanes(n), p);
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))};
}
SLUICE_INLINE void store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
SLUICE_INLINE void store_first(float* p, Lanes a, std::int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), a.v);
}
SLUICE_INLINE __m256i to_bf16_bits(Lanes a) {
  const __m512i u = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, rounded, quiet));
}
SLUICE_INLINE void store(BF16* p, Lanes a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16_bits(a));
}
SLUICE_INLINE void store_first(BF16* p, Lanes a, std::int64_t n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), to_bf16_bits(a));
}
SLUICE_INLINE Lanes add(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
SLUICE_INLINE Lanes sub(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
SLUICE_INLINE Lanes mul(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
SLUICE_INLINE Lanes div(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
/// a · b + c, rounded once.
SLUICE_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
/// c - a · b, rounded once.
SLUICE_INLINE Lanes fnma(Lanes a, Lanes b, Lanes c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
/// a > b ? a : b by lane, as the scalar expression (b where either is NaN).
SLUICE_INLINE Lanes max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
SLUICE_INLINE Lanes min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
SLUICE_INLINE Lanes sqrt(Lanes a) { return {_mm512_sqrt_ps(a.v)}; }
SLUICE_INLINE Lanes round(Lanes a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// x < limit ? 0 : y.
SLUICE_INLINE Lanes zero_where_less(Lanes x, Lanes limit, Lanes y) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_NLT_UQ), y.v)};
}
/// 2^n for integral n in [-126, 127].
SLUICE_INLINE Lanes power_of_two(Lanes n) {
  return {_mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23))};
}
SLUICE_INLINE Lanes select_nan(Lanes x, Lanes y) {  // NaN lanes of x stay, others are y
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), y.v, x.v)};
}
/// Lanes 2i and 2i+1 exchanged.
SLUICE_INLINE Lanes swap_pairs(Lanes a) { return {_mm512_permute_ps(a.v, 0xb1)}; }
SLUICE_INLINE __m256 low_half(Lanes a) { return _mm512_castps512_ps256(a.v); }
SLUICE_INLINE __m256 high_half(Lanes a) { return _mm512_extractf32x8_ps(a.v, 1); }

#else  // AVX2

struct Lanes {
  __m256 lo, hi;
};
SLUICE_INLINE Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
SLUICE_INLINE Lanes set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
SLUICE_INLINE Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
SLUICE_INLINE __m256 widen_bf16(__m128i h) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
SLUICE_INLINE Lanes load(const BF16* p) {
  const auto* h = reinterpret_cast<const __m128i*>(p);
  return {widen_bf16(_mm_loadu_si128(h)), widen_bf16(_mm_loadu_si128(h + 1))};
}
SLUICE_INLINE __m256i first_mask(std::int64_t n) {  // lanes below n
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), index);
}
/// The first n lanes from memory (n < 16), zeros behind.
SLUICE_INLINE Lanes load_first(const float* p, std::int64_t n) {
  return {_mm256_maskload_ps(p, first_mask(n)),
          n > 8 ? _mm256_maskload_ps(p + 8, first_mask(n - 8)) : _mm256_setzero_ps()};
}
SLUICE_INLINE Lanes load_first(const BF16* p, std::int64_t n) {
  alignas(32) BF16 buffer[16] = {};
  for (std::int64_t i = 0; i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
SLUICE_INLINE void store(float* p, Lanes a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
SLUICE_INLINE void store_first(float* p, Lanes a, std::int64_t n) {
  _mm256_maskstore_ps(p, first_mask(n), a.lo);
  if (n > 8) _mm256_maskstore_ps(p + 8, first_mask(n - 8), a.hi);
}
SLUICE_INLINE __m256i to_bf16_words(__m256 a) {  // one BF16 in the low half of each 32-bit word
  const __m256i u = _mm256_castps_si256(a);
  const __m256i high = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
SLUICE_INLINE void store(BF16* p, Lanes a) {
  const __m256i packed = _mm256_packus_epi32(to_bf16_words(a.lo), to_bf16_words(a.hi));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
SLUICE_INLINE void store_first(BF16* p, Lanes a, std::int64_t n) {
  alignas(32) BF16 buffer[16];
  store(buffer, a);
  for (std::int64_t i = 0; i < n; ++i) p[i] = buffer[i];
}
SLUICE_INLINE Lanes add(Lanes a, Lanes b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
SLUICE_INLINE Lanes sub(Lanes a, Lanes b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
SLUICE_INLINE Lanes mul(Lanes a, Lanes b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
SLUICE_INLINE Lanes div(Lanes a, Lanes b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
/// a · b + c, rounded once.
SLUICE_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
/// c - a · b, rounded once.
SLUICE_INLINE Lanes fnma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
/// a > b ? a : b by lane, as the scalar expression (b where either is NaN).
SLUICE_INLINE Lanes max(Lanes a, Lanes b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
SLUICE_INLINE Lanes min(Lanes a, Lanes b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
SLUICE_INLINE Lanes sqrt(Lanes a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
SLUICE_INLINE Lanes round(Lanes a) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kMode), _mm256_round_ps(a.hi, kMode)};
}
/// x < limit ? 0 : y.
SLUICE_INLINE Lanes zero_where_less(Lanes x, Lanes limit, Lanes y) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.lo, limit.lo, _CMP_NLT_UQ), y.lo),
          _mm256_and_ps(_mm256_cmp_ps(x.hi, limit.hi, _CMP_NLT_UQ), y.hi)};
}
SLUICE_INLINE __m256 power_of_two_half(__m256 n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
/// 2^n for integral n in [-126, 127].
SLUICE_INLINE Lanes power_of_two(Lanes n) {
  return {power_of_two_half(n.lo), power_of_two_half(n.hi)};
}
SLUICE_INLINE Lanes select_nan(Lanes x, Lanes y) {  // NaN lanes of x stay, others are y
  return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(x.lo, x.lo, _CMP_UNORD_Q)),
          _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(x.hi, x.hi, _CMP_UNORD_Q))};
}
/// Lanes 2i and 2i+1 exchanged.
SLUICE_INLINE Lanes swap_pairs(Lanes a) {
  return {_mm256_permute_ps(a.lo, 0xb1), _mm256_permute_ps(a.hi, 0xb1)};
}
SLUICE_INLINE __m256 low_half(Lanes a) { return a.lo; }
SLUICE_INLINE __m256 high_half(Lanes a) { return a.hi; }

#endif

/// The first n lanes from memory (n >= 1; 16 and more: all), zeros behind.
template <class T>
SLUICE_INLINE Lanes load_up_to(const T* p, std::int64_t n) {
  return n >= kLanes ? load(p) : load_first(p, n);
}
template <class T>
SLUICE_INLINE void store_up_to(T* p, Lanes a, std::int64_t n) {
  if (n >= kLanes) return store(p, a);
  store_first(p, a, n);
}

/// The fixed tree: +8, +4, +2, +1.
SLUICE_INLINE float fold_sum(Lanes a) {
  const __m256 eight = _mm256_add_ps(low_half(a), high_half(a));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
SLUICE_INLINE float fold_max(Lanes a) {
  const __m256 eight = _mm256_max_ps(low_half(a), high_half(a));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

SLUICE_INLINE Lanes exp(Lanes x) {
  using C = ExpConstants;
  const Lanes clamped = min(x, set1(C::kLargest));
  const Lanes n = round(mul(clamped, set1(C::kLog2E)));
  Lanes r = fnma(n, set1(C::kLn2High), clamped);
  r = fnma(n, set1(C::kLn2Low), r);
  Lanes p = set1(C::kC[0]);
  for (std::size_t i = 1; i < C::kC.size(); ++i) p = fma(p, r, set1(C::kC[i]));
  p = fma(p, r, set1(1.0f));
  return select_nan(x, zero_where_less(x, set1(C::kSmallest), mul(p, power_of_two(n))));
}

SLUICE_INLINE Lanes sigmoid(Lanes x) {
  return div(set1(1.0f), add(set1(1.0f), exp(sub(zero(), x))));
}

}  // namespace
}  // namespace sluice::kernels::SLUICE_ISA
