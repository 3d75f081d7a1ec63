// AdamW: factors of a step, checks, and the split over elements.
#include "kernels/optimizer/adamw.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/optimizer/adamw_kernels.hpp"

namespace sluice::kernels {
namespace {

constexpr std::int64_t kGrain = 16384;
constexpr std::int64_t kSumBlock = 65536;

const OptimizerKernels& kernels_of(const ComputeContext& context) {
  return select(context.isa, reference::kOptimizer, avx2::kOptimizer, avx512::kOptimizer);
}

// By squaring: the C library's pow may round differently from one version to the next.
double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 != 0) result *= base;
  }
  return result;
}

AdamWFactors factors_of(const AdamWDesc& desc) {
  const auto narrow = [](double value) { return static_cast<float>(value); };
  return {.scale = desc.gradient_scale,
          .one_minus_beta1 = narrow(1 - desc.beta1),
          .beta2 = narrow(desc.beta2),
          .one_minus_beta2 = narrow(1 - desc.beta2),
          .root_correction = narrow(1 / std::sqrt(1 - power(desc.beta2, desc.step))),
          .epsilon = narrow(desc.epsilon),
          .step_size = narrow(desc.learning_rate / (1 - power(desc.beta1, desc.step))),
          .keep = narrow(1 - desc.learning_rate * desc.weight_decay)};
}

}  // namespace

void adamw(const ComputeContext& context, const AdamWDesc& desc, std::span<const float> gradient,
           std::span<float> weight, std::span<float> m, std::span<float> v,
           std::span<BF16> compute) {
  SLUICE_CHECK_GE(desc.step, 1);
  SLUICE_CHECK_EQ(gradient.size(), weight.size());
  SLUICE_CHECK_EQ(m.size(), weight.size());
  SLUICE_CHECK_EQ(v.size(), weight.size());
  if (!compute.empty()) SLUICE_CHECK_EQ(compute.size(), weight.size());
  const ProfileScope profile(context, "adamw");
  const OptimizerKernels& kernels = kernels_of(context);
  const AdamWArgs args{factors_of(desc), gradient, weight, m, v, compute};
  context.team->parallel_for(
      static_cast<std::int64_t>(weight.size()), kGrain,
      [&](std::int64_t first, std::int64_t last) { kernels.adamw(args, first, last); });
}

double sum_of_squares(const ComputeContext& context, std::span<const float> values) {
  const ProfileScope profile(context, "sum_of_squares");
  const OptimizerKernels& kernels = kernels_of(context);
  const auto count = static_cast<std::int64_t>(values.size());
  const std::int64_t blocks = (count + kSumBlock - 1) / kSumBlock;
  if (blocks <= 1) return kernels.sum_of_squares(values.data(), count);
  const Tensor sums = context.make(DType::kF64, Shape{blocks});
  const std::span<double> sum = sums.values<double>();
  context.team->parallel_for(blocks, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t b = first; b < last; ++b) {
      const std::int64_t begin = b * kSumBlock;
      sum[static_cast<std::size_t>(b)] =
          kernels.sum_of_squares(values.data() + begin, std::min(kSumBlock, count - begin));
    }
  });
  double total = 0;
  for (const double block : sum) total += block;
  return total;
}

void clear(const ComputeContext& context, std::span<float> values) {
  const ProfileScope profile(context, "clear");
  context.team->parallel_for(static_cast<std::int64_t>(values.size()), kGrain,
                             [&](std::int64_t first, std::int64_t last) {
                               std::fill(values.begin() + first, values.begin() + last, 0.0f);
                             });
}

}  // namespace sluice::kernels
