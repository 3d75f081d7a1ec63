// Runs a model on given tokens and keeps everything there is to see: to compare with other
// implementations.
//
// Three runs of the same plan, each from the checkpoint: one step with all tensors observed (and
// gradients), greedy generation, and training steps.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/engine/cluster.hpp"
#include "runtime/store/checkpoint_reader.hpp"

namespace sluice::engine {

struct ProbeOptions {
  ClusterOptions cluster;     ///< model, recipe, plan sizes, losses, optimizer, device, host
  Tensor tokens;              ///< i32 [B, T + 1 + D]: the batch to look at
  std::vector<Tensor> steps;  ///< likewise, one for each training step
  bool backward = false;      ///< gradients of the batch
  /// Greedy continuation of the first `greedy_prompt` tokens of row 0 by this many; 0: none.
  std::int32_t greedy_tokens = 0;
  std::int32_t greedy_prompt = 8;
};

struct ProbeResult {
  /// Named as in shared oracles: hidden.0 .. hidden.L, logits, mtp_logits.k, gate.l.scores,
  /// gate.l.experts, grad.NAME, after.NAME, greedy, tokens. Sorted by name.
  std::vector<std::pair<std::string, Tensor>> tensors;
  actors::StepReport batch;
  std::vector<actors::StepReport> steps;
  std::vector<std::string> notes;  ///< of the checkpoint
};

[[nodiscard]] Result<ProbeResult> probe(const store::CheckpointReader& checkpoint,
                                        ProbeOptions options);

}  // namespace sluice::engine
