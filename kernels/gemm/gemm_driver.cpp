// Blocking and threads.
#include "kernels/gemm/gemm_kernel_set.hpp"

namespace sluice::kernels {
void pack_panels(const ComputeContext&, const GemmKernelSet&, const Operand&, std::int64_t,
                 std::int64_t, std::byte*) {}
void run_products(const ComputeContext&, const GemmKernelSet&, std::span<const Product>) {}
}  // namespace sluice::kernels
