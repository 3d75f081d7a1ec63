// Inside the family: one matrix product as plain data, after the entry points have checked it.
#pragma once

#include <span>

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// Where a factor's elements lie. A "line" is a row of C for the left factor and a column of C for
/// the right one; memory holds either one row a line (K along the row) or one row an index of K.
struct Operand {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t row_stride = 0;              ///< in elements
  const std::int32_t* row_index = nullptr;  ///< optional: memory row of row r is row_index[r]
  bool k_along_row = false;

  [[nodiscard]] const std::byte* row(std::int64_t r) const {
    const std::int64_t at = row_index == nullptr ? r : row_index[r];
    return data + at * row_stride * static_cast<std::int64_t>(size_of_element());
  }
  [[nodiscard]] float at(std::int64_t line, std::int64_t k) const {
    const std::byte* from = row(k_along_row ? line : k);
    const std::int64_t column = k_along_row ? k : line;
    if (dtype == DType::kBF16) return reinterpret_cast<const BF16*>(from)[column].to_float();
    return reinterpret_cast<const float*>(from)[column];
  }
  [[nodiscard]] std::size_t size_of_element() const {
    return dtype == DType::kBF16 ? sizeof(BF16) : sizeof(float);
  }
};

/// The operand seen from its memory row `first` on.
inline Operand rows_from(Operand operand, std::int64_t first) {
  if (operand.row_index != nullptr) {
    operand.row_index += first;
  } else {
    operand.data = operand.row(first);
  }
  return operand;
}

/// c = a · b (or c += a · b); the sizes of M and N are c's.
struct Product {
  Operand a{};
  Operand b{};                          ///< where b_panels is null
  const std::byte* b_panels = nullptr;  ///< packed by the kernel set that runs the product
  TensorView c{};
  std::int64_t k = 0;
  bool accumulate = false;

  [[nodiscard]] std::int64_t m() const { return c.rows; }
  [[nodiscard]] std::int64_t n() const { return c.columns; }
};

/// The plain loops: one chain of std::fma an element. Products are independent of each other.
void run_reference(const ComputeContext& context, std::span<const Product> products);

/// What the reference packs: B widened to fp32 [K, N].
void widen_reference(const Operand& b, std::int64_t k, std::int64_t n, float* out);

}  // namespace sluice::kernels
