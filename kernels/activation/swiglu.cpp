// SwiGLU: checks, and the split over rows.
#include "kernels/activation/swiglu.hpp"

#include "kernels/activation/swiglu_kernels.hpp"
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"

namespace sluice::kernels {
namespace {

const SwiGluKernels& kernels_of(const ComputeContext& context) {
  return select(context.isa, reference::kSwiGlu, avx2::kSwiGlu, avx512::kSwiGlu);
}

void check_shapes(const TensorView& gate_up, const TensorView& y,
                  std::span<const float> row_weight) {
  check_element(gate_up.dtype);
  SLUICE_CHECK(y.dtype == gate_up.dtype);
  SLUICE_CHECK_EQ(gate_up.rows, y.rows);
  SLUICE_CHECK_EQ(gate_up.columns, 2 * y.columns);
  if (!row_weight.empty()) SLUICE_CHECK_EQ(static_cast<std::int64_t>(row_weight.size()), y.rows);
}

}  // namespace

void swiglu(const ComputeContext& context, TensorView gate_up, std::span<const float> row_weight,
            TensorView y) {
  check_shapes(gate_up, y, row_weight);
  const ProfileScope profile(context, "swiglu");
  const SwiGluKernels& kernels = kernels_of(context);
  const SwiGluForward args{gate_up, y, row_weight};
  context.team->parallel_for(
      y.rows, grain_rows(4 * y.columns),
      [&](std::int64_t first, std::int64_t last) { kernels.forward(args, first, last); });
}

void swiglu_backward(const ComputeContext& context, TensorView gate_up,
                     std::span<const float> row_weight, TensorView dy, TensorView dgate_up,
                     std::span<float> drow_weight) {
  check_shapes(gate_up, dy, row_weight);
  check_shapes(dgate_up, dy, row_weight);
  SLUICE_CHECK(dgate_up.dtype == gate_up.dtype);
  SLUICE_CHECK_EQ(drow_weight.size(), row_weight.size());
  const ProfileScope profile(context, "swiglu_backward");
  const SwiGluKernels& kernels = kernels_of(context);
  const SwiGluBackward args{gate_up, dy, dgate_up, row_weight, drow_weight};
  context.team->parallel_for(
      dy.rows, grain_rows(6 * dy.columns),
      [&](std::int64_t first, std::int64_t last) { kernels.backward(args, first, last); });
}

}  // namespace sluice::kernels
