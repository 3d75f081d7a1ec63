// The measured peak: plausible, and above what a product reaches.
#include "kernels/gemm/peak.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/kernels/gemm/gemm_cases.hpp"

namespace sluice::kernels {
namespace {

double best_peak(const Machine& machine) {  // of several bursts: others may use the CPU too
  double best = 0;
  for (int i = 0; i < 200; ++i) {
    best = std::max(best, measure_peak_gflops(machine.context, DType::kF32, 1e-4));
  }
  return best;
}

double best_gemm(const Machine& machine) {
  const GemmCase c{128, 128, 128};
  const Matrix a = c.a(), b = c.b(), out = c.c();
  double best = 0;
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    gemm(machine.context, a.view(), c.a_layout, b.view(), c.b_layout, out.view());
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, gemm_operations(c.m, c.n, c.k) / took.count() * 1e-9);
  }
  return best;
}

TEST(Peak, IsAboveAnyProduct) {
  for (const Isa isa : available_isas()) {
    const Machine machine(isa);
    const double peak = best_peak(machine);
    if (isa == Isa::kReference) {
      EXPECT_EQ(peak, 0);
      continue;
    }
    EXPECT_GT(peak, best_gemm(machine) * 0.9) << name_of(isa);
    EXPECT_LT(peak, 2000) << name_of(isa) << ": the bursts were optimised away";
  }
}

}  // namespace
}  // namespace sluice::kernels
