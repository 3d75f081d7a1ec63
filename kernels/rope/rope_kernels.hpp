// What each kernel set provides for RoPE. Ranges are rows.
#pragma once

#include "kernels/rope/rope.hpp"

namespace sluice::kernels {

struct RopeArgs {
  MatrixView<const float> cosine, sine;
  std::span<const std::int32_t> positions;
  RopeHeads heads;
  float sign = 1;  ///< -1 rotates back
  TensorView x;
};

struct RopeKernels {
  void (*rotate)(const RopeArgs& args, std::int64_t first, std::int64_t last);
};
namespace reference {
extern const RopeKernels kRope;
}
namespace avx2 {
extern const RopeKernels kRope;
}
namespace avx512 {
extern const RopeKernels kRope;
}

}  // namespace sluice::kernels
