// RoPE: checks, and the split over rows.
#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/kernel_set.hpp"
#include "kernels/cpu/profile.hpp"
#include "kernels/rope/rope_kernels.hpp"

namespace sluice::kernels {

void rope(const ComputeContext& context, const RopeTable& table,
          std::span<const std::int32_t> positions, RopeHeads heads, bool inverse, TensorView x) {
  check_element(x.dtype);
  SLUICE_CHECK_EQ(static_cast<std::int64_t>(positions.size()), x.rows);
  SLUICE_CHECK_EQ(heads.dim % 2, 0);
  SLUICE_CHECK(heads.first >= 0 && heads.dim >= 0, "columns {} + {}", heads.first, heads.dim);
  SLUICE_CHECK_LE((heads.heads - 1) * heads.head_stride + heads.first + heads.dim, x.columns);
  if (x.rows == 0 || heads.dim == 0) return;
  const RopeArgs args{table.cosine.matrix<const float>(),
                      table.sine.matrix<const float>(),
                      positions,
                      heads,
                      inverse ? -1.0f : 1.0f,
                      x};
  SLUICE_CHECK_EQ(args.cosine.columns, heads.dim / 2);
  for (const std::int32_t position : positions) {
    SLUICE_CHECK(position >= 0 && position < args.cosine.rows, "position {} of {}", position,
                 args.cosine.rows);
  }
  const ProfileScope profile(context, "rope");
  const RopeKernels& kernels = select(context.isa, reference::kRope, avx2::kRope, avx512::kRope);
  context.team->parallel_for(
      x.rows, grain_rows(heads.heads * heads.dim),
      [&](std::int64_t first, std::int64_t last) { kernels.rotate(args, first, last); });
}

}  // namespace sluice::kernels
