// How long a chunk pass takes: tasks put together as a stage's flows run them.
//
// F, B, I and W alone use the SMs that kernels have where nothing travels; an all-to-all then has
// nothing to hide under, so times add up. A pair runs a forward and a backward flow on two lanes,
// compute and transfers, in the order of DeepSeek's training trace; while it runs, kernels lack the
// SMs that communication holds.
#pragma once

#include "graph/cost/unit_kernels.hpp"

namespace sluice::cost {

/// Seconds by task.
using TaskSeconds = std::array<double, kTaskCount>;
[[nodiscard]] TaskSeconds task_seconds(const UnitKernels& kernels, const Hardware& hardware,
                                       double sms);

/// Seconds by kernel class over all tasks, gaps between launches not counted.
using ClassSeconds = std::array<double, kKernelClassNames.size()>;
[[nodiscard]] ClassSeconds class_seconds(const UnitKernels& kernels, const Hardware& hardware,
                                         double sms);

/// A unit at both numbers of SMs.
struct UnitTimes {
  TaskSeconds alone{};
  TaskSeconds beside{};  ///< communication
};

/// One pass of one chunk, or one pair.
struct PassTime {
  double seconds = 0;
  double transfer = 0;  ///< of all-to-alls in it
  double exposed = 0;   ///< of those, the part under which nothing is computed
};

struct ChunkTimes {
  PassTime forward, backward_input, backward_weight;
};

/// Passes alone of the units of a stage.
[[nodiscard]] ChunkTimes chunk_times(const std::vector<UnitTimes>& units);

/// A forward pass of one stage and a full backward pass of another, units side by side: the
/// forward's first beside the backward's first, which is its stage's last.
[[nodiscard]] PassTime pair_time(const std::vector<UnitTimes>& forward,
                                 const std::vector<UnitTimes>& backward);

}  // namespace sluice::cost
