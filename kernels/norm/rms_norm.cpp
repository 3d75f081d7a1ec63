// RMSNorm: checks, and the split over rows (weights: over columns).
#include "kernels/norm/rms_norm.hpp"

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/norm/rms_norm_kernels.hpp"

namespace sluice::kernels {
namespace {

const NormKernels& kernels_of(const ComputeContext& context) {
  return select(context.isa, reference::kNorm, avx2::kNorm, avx512::kNorm);
}

void check_weight(const TensorView& x, const TensorView& weight) {
  SLUICE_CHECK(weight.dtype == x.dtype || weight.dtype == DType::kF32, "weight of {} for {}",
               name_of(weight.dtype), name_of(x.dtype));
  SLUICE_CHECK(weight.rows == 1 && weight.columns == x.columns, "weight [{}, {}] for rows of {}",
               weight.rows, weight.columns, x.columns);
}

void check_inverse_rms(const TensorView& x, std::span<const float> inverse_rms) {
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(inverse_rms.size()), x.rows);
}

}  // namespace

void rms_norm(const ComputeContext& context, TensorView x, TensorView weight, float epsilon,
              TensorView y, std::span<float> inverse_rms) {
  check_element(x.dtype);
  check_weight(x, weight);
  check_same_shape(x, y);
  SLUICE_CHECK(y.dtype == x.dtype);
  if (!inverse_rms.empty()) check_inverse_rms(x, inverse_rms);
  const ProfileScope profile(context, "rms_norm");
  const NormKernels& kernels = kernels_of(context);
  const RmsNormForward args{x, weight, y, epsilon, inverse_rms};
  context.team->parallel_for(
      x.rows, grain_rows(x.columns),
      [&](std::int64_t first, std::int64_t last) { kernels.forward(args, first, last); });
}

void rms_norm_backward_input(const ComputeContext& context, TensorView x, TensorView weight,
                             std::span<const float> inverse_rms, TensorView dy, TensorView dx,
                             bool accumulate) {
  check_element(x.dtype);
  check_weight(x, weight);
  check_same_shape(x, dy);
  check_same_shape(x, dx);
  SLUICE_CHECK(dy.dtype == x.dtype && dx.dtype == x.dtype);
  check_inverse_rms(x, inverse_rms);
  const ProfileScope profile(context, "rms_norm_backward_input");
  const NormKernels& kernels = kernels_of(context);
  const RmsNormBackwardInput args{x, weight, dy, dx, inverse_rms, accumulate};
  context.team->parallel_for(
      x.rows, grain_rows(x.columns),
      [&](std::int64_t first, std::int64_t last) { kernels.backward_input(args, first, last); });
}

void rms_norm_backward_weight(const ComputeContext& context, TensorView x,
                              std::span<const float> inverse_rms, TensorView dy,
                              std::span<float> dweight) {
  check_element(x.dtype);
  check_same_shape(x, dy);
  SLUICE_CHECK(dy.dtype == x.dtype);
  check_inverse_rms(x, inverse_rms);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(dweight.size()), x.columns);
  const ProfileScope profile(context, "rms_norm_backward_weight");
  const NormKernels& kernels = kernels_of(context);
  const RmsNormBackwardWeight args{x, dy, inverse_rms, dweight};
  constexpr std::int64_t kBlock = 64;  // columns: four cache lines of fp32
  context.team->parallel_for((x.columns + kBlock - 1) / kBlock, grain_rows(kBlock * x.rows),
                             [&](std::int64_t first, std::int64_t last) {
                               kernels.backward_weight(args, first * kBlock,
                                                       std::min(last * kBlock, x.columns));
                             });
}

void add(const ComputeContext& context, TensorView a, TensorView b, TensorView y) {
  check_element(a.dtype);
  check_same_shape(a, b);
  check_same_shape(a, y);
  SLUICE_CHECK(b.dtype == a.dtype && y.dtype == a.dtype);
  const ProfileScope profile(context, "add");
  const NormKernels& kernels = kernels_of(context);
  context.team->parallel_for(
      a.rows, grain_rows(a.columns),
      [&](std::int64_t first, std::int64_t last) { kernels.add(a, b, y, first, last); });
}

}  // namespace sluice::kernels
