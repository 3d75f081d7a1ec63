// The kernels of each task of each unit of a model: what an owner submits to its device, as data.
//
// Structure and byte counts follow the kernels of DeepSeek's published training trace
// (deepseek-ai/profile-data, train.json); the bytes are the least that each kernel must move.
// All-to-all between nodes counts one copy of a token for each node that it may go to, its own
// among them, as DeepEP's tests do; within a node one for each rank that it is expected to go to.
#pragma once

#include <array>
#include <vector>

#include "graph/cost/kernel.hpp"
#include "graph/cost/layout.hpp"

namespace sluice::cost {

enum class Task : std::uint8_t {
  kAttentionForward,  ///< norms, attention, gate; the embedding's and MTP projection's forward
  kDispatchForward,
  kFeedForwardForward,  ///< experts, shared and dense ones; the head's forward and loss
  kCombineForward,
  kCombineBackward,
  kFeedForwardInput,
  kFeedForwardWeight,
  kDispatchBackward,
  kAttentionInput,  ///< with what is recomputed
  kAttentionWeight,
};
inline constexpr std::size_t kTaskCount = 10;
using UnitKernels = std::array<std::vector<Kernel>, kTaskCount>;

/// `gpus_per_node` decides whether experts are within a node.
[[nodiscard]] UnitKernels kernels_of(Unit unit, const Job& job, double gpus_per_node);

/// Nodes, or ranks of one node, that a token is sent to.
[[nodiscard]] double copies_of_token(const Job& job, double gpus_per_node);

/// Parameters of a unit on one rank: those that all pipelines hold, and routed experts.
struct UnitParameters {
  double dense = 0;
  double experts = 0;
};
[[nodiscard]] UnitParameters parameters_of(Unit unit, const Job& job);

/// Kept by a rank from forward to backward, for one micro-batch.
[[nodiscard]] double saved_bytes_of(Unit unit, const Job& job);

/// Operations per token of a step, forward and backward: six for each parameter that a token meets
/// in the main model (embedding not counted), and attention, causal or not. MTP is not counted.
[[nodiscard]] double operations_per_token(const Job& job, bool is_causal);

}  // namespace sluice::cost
