// AdamW in 16 lanes, for every SIMD kernel set: one pass over gradient, weight and moments.
#include "kernels/optimizer/adamw_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/optimizer/adamw_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

void adamw(const AdamWArgs& args, std::int64_t first, std::int64_t last) {
  const AdamWFactors& f = args.factors;
  const Lanes scale = set1(f.scale), step_size = set1(f.step_size), keep = set1(f.keep);
  const Lanes one_minus_beta1 = set1(f.one_minus_beta1), beta2 = set1(f.beta2);
  const Lanes one_minus_beta2 = set1(f.one_minus_beta2), epsilon = set1(f.epsilon);
  const Lanes root_correction = set1(f.root_correction);
  for (std::int64_t i = first; i < last; i += kLanes) {
    const std::int64_t n = last - i;
    const Lanes g = mul(load_up_to(args.gradient.data() + i, n), scale);
    const Lanes old_m = load_up_to(args.m.data() + i, n);
    const Lanes m = fma(sub(g, old_m), one_minus_beta1, old_m);
    const Lanes old_v = load_up_to(args.v.data() + i, n);
    const Lanes v = fma(mul(g, one_minus_beta2), g, mul(old_v, beta2));
    const Lanes denominator = fma(sqrt(v), root_correction, epsilon);
    const Lanes kept = mul(load_up_to(args.weight.data() + i, n), keep);
    const Lanes w = fnma(step_size, div(m, denominator), kept);
    store_up_to(args.m.data() + i, m, n);
    store_up_to(args.v.data() + i, v, n);
    store_up_to(args.weight.data() + i, w, n);
    if (!args.compute.empty()) store_up_to(args.compute.data() + i, w, n);
  }
}

// Four accumulators of four fp64 lanes: lane j of 16 is lane j mod 4 of accumulator j / 4. Squares
// of floats are exact in fp64, so fusing or not is the same.
double sum_of_squares(const float* values, std::int64_t count) {
  __m256d sum[4] = {};
  for (std::int64_t i = 0; i < count; i += kLanes) {
    alignas(64) float buffer[kLanes] = {};
    const float* p = values + i;
    if (count - i < kLanes) {
      for (std::int64_t j = 0; j < count - i; ++j) buffer[j] = p[j];
      p = buffer;
    }
    for (int k = 0; k < 4; ++k) {
      const __m256d value = _mm256_cvtps_pd(_mm_loadu_ps(p + 4 * k));
      sum[k] = _mm256_fmadd_pd(value, value, sum[k]);
    }
  }
  const __m256d eight_0 = _mm256_add_pd(sum[0], sum[2]), eight_1 = _mm256_add_pd(sum[1], sum[3]);
  const __m256d four = _mm256_add_pd(eight_0, eight_1);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

}  // namespace

const OptimizerKernels kOptimizer{adamw, sum_of_squares};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
