// The reference: plain loops, the definition of every other fp32 kernel's bits.
#include <algorithm>
#include <cmath>

#include "kernels/gemm/gemm_product.hpp"

namespace sluice::kernels {
namespace {

// One row of C: sums[j] = fma(a[k], b[k][j], sums[j]) for k = 0, 1, ...
struct RowJob {
  const float* a;
  const float* b;
  float* sums;
  std::int64_t k;
  std::int64_t n;
};

inline __attribute__((always_inline)) void multiply_row_body(const RowJob& job) {
  for (std::int64_t k = 0; k < job.k; ++k) {
    const float a = job.a[k];
    const float* b = job.b + k * job.n;
    for (std::int64_t j = 0; j < job.n; ++j) job.sums[j] = std::fma(a, b[j], job.sums[j]);
  }
}

// The same loop twice: std::fma is a call into libm unless the compiler may use the instruction.
void multiply_row_portable(const RowJob& job) { multiply_row_body(job); }
__attribute__((target("fma"))) void multiply_row_fma(const RowJob& job) { multiply_row_body(job); }

void load_row(const Product& p, std::int64_t row, float* sums) {
  if (p.accumulate) {
    std::copy_n(p.c.as<float>().row(row), p.n(), sums);
  } else {
    std::fill_n(sums, p.n(), 0.0f);
  }
}

void store_row(const Product& p, std::int64_t row, const float* sums) {
  if (p.c.dtype == DType::kF32) {
    std::copy_n(sums, p.n(), p.c.as<float>().row(row));
    return;
  }
  BF16* out = p.c.as<BF16>().row(row);
  for (std::int64_t j = 0; j < p.n(); ++j) out[j] = BF16::from_float(sums[j]);
}

void run_product(const ComputeContext& context, const Product& p) {
  if (p.m() == 0 || p.n() == 0) return;
  const bool has_fma = __builtin_cpu_supports("fma") != 0;
  const Tensor b = context.make(DType::kF32, Shape{p.k, p.n()});
  widen_reference(p.b, p.k, p.n(), b.matrix<float>().data);
  context.team->parallel_for(p.m(), 1, [&](std::int64_t first, std::int64_t last) {
    const Tensor scratch = context.make(DType::kF32, Shape{p.k + p.n()});
    float* a = scratch.matrix<float>().data;
    float* sums = a + p.k;
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t k = 0; k < p.k; ++k) a[k] = p.a.at(row, k);
      load_row(p, row, sums);
      const RowJob job{a, b.matrix<float>().data, sums, p.k, p.n()};
      has_fma ? multiply_row_fma(job) : multiply_row_portable(job);
      store_row(p, row, sums);
    }
  });
}

}  // namespace

void widen_reference(const Operand& b, std::int64_t k_count, std::int64_t n, float* out) {
  for (std::int64_t k = 0; k < k_count; ++k) {
    for (std::int64_t j = 0; j < n; ++j) out[k * n + j] = b.at(j, k);
  }
}

void run_reference(const ComputeContext& context, std::span<const Product> products) {
  for (const Product& p : products) run_product(context, p);
}

}  // namespace sluice::kernels
