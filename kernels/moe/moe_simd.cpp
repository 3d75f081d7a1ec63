// The gate's sigmoid and the sums along a tree in 16 lanes, for every SIMD kernel set.
#include <algorithm>
#include <cstring>

#include "kernels/moe/moe_kernels.hpp"

#define SLUICE_ISA_SOURCE "kernels/moe/moe_simd.cpp"
#include "kernels/cpu/for_each_isa.hpp"

#ifdef SLUICE_ISA
namespace sluice::kernels::SLUICE_ISA {
namespace {

void sigmoid_row(const float* from, float* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    store_up_to(to + i, sigmoid(load_up_to(from + i, count - i)), count - i);
  }
}

constexpr std::int64_t kStrip = 64;  // columns that go through the tree together

// rows[..] -> out for `n` <= kStrip columns from `column` on. The stack stays in the first-level
// cache; its elements are of type T, so that every sum is rounded as if it had been sent.
template <class T, class Out>
void strip_sum(const TreeSum& sum, std::int64_t column, std::int64_t n, Out* out) {
  alignas(64) T stack[kTreeDepthMax][kStrip];
  std::size_t depth = 0;
  for (std::size_t i = 0; i < sum.rows.size(); ++i) {
    const T* row = static_cast<const T*>(sum.rows[i]) + column;
    std::memcpy(stack[depth++], row, static_cast<std::size_t>(n) * sizeof(T));
    for (int merge = 0; merge < sum.merges[i]; ++merge, --depth) {
      T* left = stack[depth - 2];
      const T* right = stack[depth - 1];
      for (std::int64_t j = 0; j < n; j += kLanes)
        store(left + j, add(load(left + j), load(right + j)));
    }
  }
  for (std::int64_t j = 0; j < n; j += kLanes) store_up_to(out + j, load(stack[0] + j), n - j);
}

// The only row, converted.
template <class T, class Out>
void copy_row(const TreeSum& sum, Out* out) {
  const T* row = static_cast<const T*>(sum.rows[0]);
  for (std::int64_t j = 0; j < sum.columns; j += kLanes) {
    store_up_to(out + j, load_up_to(row + j, sum.columns - j), sum.columns - j);
  }
}

// Two rows: no stack.
template <class T, class Out>
void pair_sum(const TreeSum& sum, Out* out) {
  const T* left = static_cast<const T*>(sum.rows[0]);
  const T* right = static_cast<const T*>(sum.rows[1]);
  for (std::int64_t j = 0; j < sum.columns; j += kLanes) {
    const std::int64_t n = sum.columns - j;
    Lanes value = add(load_up_to(left + j, n), load_up_to(right + j, n));
    if constexpr (!std::is_same_v<T, float> && !std::is_same_v<T, Out>) {
      alignas(64) T rounded[kLanes];
      store(rounded, value);
      value = load(rounded);
    }
    store_up_to(out + j, value, n);
  }
}

template <class T, class Out>
void tree_sum_as(const TreeSum& sum) {
  auto* out = static_cast<Out*>(sum.out);
  if (sum.rows.size() == 1) return copy_row<T>(sum, out);
  if (sum.rows.size() == 2) return pair_sum<T>(sum, out);
  for (std::int64_t column = 0; column < sum.columns; column += kStrip) {
    strip_sum<T>(sum, column, std::min(kStrip, sum.columns - column), out + column);
  }
}

void tree_sum(const TreeSum& sum) {
  if (sum.dtype == DType::kF32) {
    if (sum.out_dtype == DType::kF32) return tree_sum_as<float, float>(sum);
    return tree_sum_as<float, BF16>(sum);
  }
  if (sum.out_dtype == DType::kF32) return tree_sum_as<BF16, float>(sum);
  tree_sum_as<BF16, BF16>(sum);
}

}  // namespace

const MoeKernels kMoe{sigmoid_row, tree_sum};

}  // namespace sluice::kernels::SLUICE_ISA
#endif
