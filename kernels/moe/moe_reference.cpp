// The gate's sigmoid and the sums along a tree, in plain scalar code.
#include <array>

#include "kernels/cpu/elements.hpp"
#include "kernels/cpu/lanes_math.hpp"
#include "kernels/moe/moe_kernels.hpp"

namespace sluice::kernels::reference {
namespace {

void sigmoid(const float* from, float* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = lane_sigmoid(from[i]);
}

template <class T>
T element_sum(const TreeSum& sum, std::int64_t column) {
  std::array<T, kTreeDepthMax> stack{};
  std::size_t depth = 0;
  for (std::size_t i = 0; i < sum.rows.size(); ++i) {
    stack[depth++] = static_cast<const T*>(sum.rows[i])[column];
    for (int merge = 0; merge < sum.merges[i]; ++merge, --depth) {
      stack[depth - 2] = from_float<T>(to_float(stack[depth - 2]) + to_float(stack[depth - 1]));
    }
  }
  return stack[0];
}

void tree_sum(const TreeSum& sum) {
  visit_element(sum.dtype, [&]<class T>(T) {
    visit_element(sum.out_dtype, [&]<class Out>(Out) {
      for (std::int64_t i = 0; i < sum.columns; ++i) {
        static_cast<Out*>(sum.out)[i] = from_float<Out>(to_float(element_sum<T>(sum, i)));
      }
    });
  });
}

}  // namespace

const MoeKernels kMoe{sigmoid, tree_sum};

}  // namespace sluice::kernels::reference
