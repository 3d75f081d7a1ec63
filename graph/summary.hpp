// What planning needs to know of a model: per layer, its parameters, what it keeps for backward,
// and its work.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::graph {

/// Sizes of one unit that a stage runs (embedding, layer, head, MTP depth), for one token where it
/// says so.
struct UnitSummary {
  std::string name;  ///< "embedding", "layer 3", "head", "mtp 1"
  bool is_moe = false;
  std::int64_t parameters = 0;             ///< of the stage (without routed experts)
  std::int64_t expert_parameters = 0;      ///< of one routed expert
  std::int64_t packed_bytes = 0;           ///< panels of the stage's matrices
  std::int64_t expert_packed_bytes = 0;    ///< of one routed expert
  std::int64_t saved_bytes_per_token = 0;  ///< kept by the stage from forward to backward
  std::int64_t expert_saved_bytes_per_row =
      0;  ///< kept by an expert group, for one routed row (token, expert)
  double forward_operations_per_token =
      0;  ///< of the stage, attention at the given sequence length included
  double expert_operations_per_row = 0;  ///< forward
};

struct ModelSummary {
  std::vector<UnitSummary> units;  ///< embedding, layers, head, MTP depths, in order of execution
  std::int64_t hidden_bytes_per_token = 0;  ///< of an activation that crosses stages
  std::int64_t vocab_size = 0;
  std::int64_t n_routed_experts = 0;
  std::int64_t num_experts_per_tok = 0;
  std::int64_t mtp_depth = 0;
  /// Bytes of one parameter by use: compute copy, fp32 master beside it, gradient, moments.
  double weight_bytes = 4, master_bytes = 0, gradient_bytes = 4, optimizer_bytes = 8;
  /// What passes hold beside what they keep, at most: for each token of a micro-batch in a layer,
  /// and in the head, whose logits exist in blocks of rows.
  std::int64_t scratch_bytes_per_token = 0;
  std::int64_t logits_bytes_per_token = 0;
  std::int64_t logits_bytes_max = 0;
  [[nodiscard]] std::int64_t parameters() const;  ///< all of them
};

}  // namespace sluice::graph
