// The element types of activations (fp32 and BF16) as floats, and what every entry point checks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/base/check.hpp"
#include "kernels/base/tensor.hpp"

namespace sluice::kernels {

[[nodiscard]] inline float to_float(float value) { return value; }
[[nodiscard]] inline float to_float(BF16 value) { return value.to_float(); }

template <class T>
[[nodiscard]] T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return T::from_float(value);
  }
}

/// Calls f with a value of the element type: visit_element(view.dtype, [&]<class T>(T) { ... }).
template <class F>
void visit_element(DType dtype, F&& f) {
  if (dtype == DType::kF32) return f(float{});
  f(BF16{});
}

inline void check_element(DType dtype) {
  SLUICE_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, "{} where F32 or BF16 is needed",
               name_of(dtype));
}

inline void check_same_shape(const TensorView& a, const TensorView& b) {
  SLUICE_CHECK(a.rows == b.rows && a.columns == b.columns, "[{}, {}] versus [{}, {}]", a.rows,
               a.columns, b.rows, b.columns);
}

/// Rows that are worth a hand-over to another thread: some 32,768 elements, about 5 us of memory
/// traffic. Kernels that compute more an element give a multiple of their columns.
[[nodiscard]] inline std::int64_t grain_rows(std::int64_t columns) {
  constexpr std::int64_t kElements = 32768;
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, columns));
}

}  // namespace sluice::kernels
