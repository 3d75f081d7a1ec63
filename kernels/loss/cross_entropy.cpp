// Cross entropy: checks, and the split over rows.
#include "kernels/loss/cross_entropy.hpp"

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/loss/cross_entropy_kernels.hpp"

namespace sluice::kernels {

void cross_entropy(const ComputeContext& context, TensorView logits,
                   std::span<const std::int32_t> targets, float dloss, std::span<float> losses,
                   TensorView dlogits) {
  check_element(logits.dtype);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(targets.size()), logits.rows);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(losses.size()), logits.rows);
  for (const std::int32_t target : targets) {
    SLUICE_CHECK(target >= -1 && target < logits.columns, "target {} of a vocabulary of {}", target,
                 logits.columns);
  }
  if (dlogits.rows != 0) {
    check_element(dlogits.dtype);
    check_same_shape(logits, dlogits);
  }
  const ProfileScope profile(context, "cross_entropy");
  const CrossEntropyKernels& kernels =
      select(context.isa, reference::kCrossEntropy, avx2::kCrossEntropy, avx512::kCrossEntropy);
  const CrossEntropyArgs args{logits, targets, dloss, losses, dlogits};
  context.team->parallel_for(
      logits.rows, grain_rows(4 * logits.columns),
      [&](std::int64_t first, std::int64_t last) { kernels.rows(args, first, last); });
}

}  // namespace sluice::kernels
