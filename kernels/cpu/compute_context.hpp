// What every kernel is given: the kernel set, the threads and the memory to work with.
#pragma once

#include "kernels/base/tensor.hpp"
#include "kernels/cpu/features.hpp"
#include "kernels/cpu/thread_team.hpp"

namespace sluice::kernels {

class Profile;  // kernels/cpu/profile.hpp

struct ComputeContext {
  Isa isa = Isa::kReference;
  Bf16Features bf16;  ///< which BF16 dot products GEMMs may use; all false: widened to fp32
  ThreadTeam* team = nullptr;      ///< not owned; never null
  Allocator* allocator = nullptr;  ///< not owned; outputs and scratch; never null
  Profile* profile = nullptr;      ///< not owned; null: not measured

  [[nodiscard]] Tensor make(DType dtype, Shape shape) const { return {*allocator, dtype, shape}; }
};

}  // namespace sluice::kernels
