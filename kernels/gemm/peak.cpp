// Bursts on every thread until the time is over.
#include "kernels/gemm/peak.hpp"

#include <atomic>
#include <chrono>
#include <functional>

#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {

double measure_peak_gflops(const ComputeContext& context, DType operands, double seconds) {
  constexpr std::int64_t kRounds = 1000;  // a few microseconds between looks at the clock
  using Clock = std::chrono::steady_clock;
  const GemmKernelSet* kernels = choose_gemm_kernels(context, operands);
  if (kernels == nullptr) return 0;
  std::atomic<double> operations{0};
  const auto start = Clock::now();
  const auto elapsed = [start] {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto work = [&](int /*thread*/) {
    if (kernels->begin != nullptr) kernels->begin();
    double done = 0;
    while (elapsed() < seconds) done += kernels->burst(kRounds);
    if (kernels->end != nullptr) kernels->end();
    operations.fetch_add(done);
  };
  context.team->run(std::ref(work));
  return operations.load() / elapsed() * 1e-9;
}

}  // namespace sluice::kernels
