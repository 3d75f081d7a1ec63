// What a rank holds, and what the optimizer does with it.
#pragma once

#include "graph/cost/unit_kernels.hpp"

namespace sluice::cost {

/// Bytes on one rank.
struct Memory {
  double weights = 0;      ///< BF16, and FP8 copies under that recipe
  double gradients = 0;    ///< FP32
  double optimizer = 0;    ///< the rank's share: FP32 master weights, two BF16 moments
  double activations = 0;  ///< at the program's peak
  [[nodiscard]] double total() const { return weights + gradients + optimizer + activations; }
  friend bool operator==(const Memory&, const Memory&) = default;
};

[[nodiscard]] Memory memory_of(const Job& job, const graph::Schedule& schedule,
                               const Stages& stages, std::int32_t rank);

/// Seconds that a rank's optimizer step takes: FP32 gradients reduce-scattered, BF16 weights
/// gathered, each rank updating its share (ZeRO-1). What all pipelines hold moves at NVLink's rate,
/// which bounds rings over ranks of a node (arXiv 2505.09343, 4.3); experts, whose copies are on
/// other nodes, at InfiniBand's.
[[nodiscard]] double optimizer_seconds(const Job& job, const graph::Schedule& schedule,
                                       const Stages& stages, const Hardware& hardware,
                                       std::int32_t rank);

}  // namespace sluice::cost
