// What each kernel set provides for SwiGLU. Ranges are rows.
#pragma once

#include "kernels/activation/swiglu.hpp"

namespace sluice::kernels {

struct SwiGluForward {
  TensorView gate_up, y;
  std::span<const float> row_weight;
};

struct SwiGluBackward {
  TensorView gate_up, dy, dgate_up;
  std::span<const float> row_weight;
  std::span<float> drow_weight;
};

struct SwiGluKernels {
  void (*forward)(const SwiGluForward& args, std::int64_t first, std::int64_t last);
  void (*backward)(const SwiGluBackward& args, std::int64_t first, std::int64_t last);
};
namespace reference {
extern const SwiGluKernels kSwiGlu;
}
namespace avx2 {
extern const SwiGluKernels kSwiGlu;
}
namespace avx512 {
extern const SwiGluKernels kSwiGlu;
}

}  // namespace sluice::kernels
