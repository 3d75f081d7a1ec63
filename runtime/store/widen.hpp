// Stored elements to fp32, exactly (fp64 is rounded to nearest).
#pragma once

#include <cstddef>
#include <span>

#include "kernels/base/dtype.hpp"

namespace sluice::store {

/// Whether `widen` reads this dtype: F32, BF16, F16, F64 and E4M3 (without its scale).
[[nodiscard]] bool can_widen(DType dtype);
/// `stored` holds out.size() elements of `dtype`, at any alignment.
void widen(DType dtype, std::span<const std::byte> stored, std::span<float> out);

}  // namespace sluice::store
