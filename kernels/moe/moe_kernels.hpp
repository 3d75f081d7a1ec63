// What each kernel set provides for the gate and the routes: the arithmetic on rows. Selection and
// index lists are plain code, the same for all.
#pragma once

#include "kernels/base/tensor.hpp"

namespace sluice::kernels {

/// Leaves and additions of one tree in postfix order: push row 0, add `merges[0]` times the two
/// topmost rows of a stack (lower one on the left), push row 1, and so on; one row is left.
struct TreeSum {
  std::span<const void* const> rows;     ///< in the order of their ids; at least one
  std::span<const std::uint8_t> merges;  ///< one entry a row
  DType dtype = DType::kF32;             ///< of rows; every sum is rounded to it
  void* out = nullptr;
  DType out_dtype = DType::kF32;
  std::int64_t columns = 0;
};

/// Ids are below 2^31 and a stack holds at most one row a level.
inline constexpr std::size_t kTreeDepthMax = 32;

struct MoeKernels {
  void (*sigmoid)(const float* from, float* to, std::int64_t count);
  void (*tree_sum)(const TreeSum& sum);
};
namespace reference {
extern const MoeKernels kMoe;
}
namespace avx2 {
extern const MoeKernels kMoe;
}
namespace avx512 {
extern const MoeKernels kMoe;
}

}  // namespace sluice::kernels
