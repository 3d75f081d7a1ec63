// `sluice bench gemm`: speed of the matrix products beside the arithmetic peak of the machine.
//
// Each row repeats one product and, in between, bursts of register-only multiply-adds on the same
// threads; GFLOP/s and peak are medians of these. On a machine that others use as well, both then
// lose alike and their ratio stays meaningful.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/cpu/compute_context.hpp"
#include "runtime/bench/gemm_shapes.hpp"

namespace sluice::bench {

struct GemmBenchOptions {
  DType operands = DType::kF32;  ///< kBF16: activations and weights BF16, weight gradients fp32
  std::string filter;            ///< rows whose name contains it; empty for all
  double seconds_a_row = 0.25;
};

struct GemmBenchRow {
  GemmTask task;
  double seconds = 0;  ///< median of one call
  double gflops = 0;
  double peak_gflops = 0;  ///< 0: the kernel set has no peak to compare with

  [[nodiscard]] double ratio() const { return peak_gflops > 0 ? gflops / peak_gflops : 0; }
};

struct GemmBenchReport {
  std::string kernel_set;
  int threads = 1;
  std::vector<GemmBenchRow> rows;

  /// Share of peak over a whole step's products: the time that they would take at peak, over the
  /// time that they take, for rows whose name begins with `prefix` ("quick/"). 0 without rows.
  [[nodiscard]] double weighted_ratio(const std::string& prefix) const;
};

/// `context` names kernel set, threads and a pooling allocator. Rows come in the tasks' order.
[[nodiscard]] GemmBenchReport run_gemm_bench(const kernels::ComputeContext& context,
                                             const std::vector<GemmTask>& tasks,
                                             const GemmBenchOptions& options);

/// For people: a line a row, then the weighted ratio of every model. For machines: the same.
[[nodiscard]] std::string to_table(const GemmBenchReport& report);
[[nodiscard]] nlohmann::json to_json(const GemmBenchReport& report);

}  // namespace sluice::bench
