// Which layers of the model a chunk runs.
#pragma once

#include <vector>

#include "graph/model_config.hpp"
#include "graph/plan.hpp"

namespace sluice::actors {

/// Layer ids: its main layers, then, of the last stage, the MTP depths' layers.
[[nodiscard]] inline std::vector<std::int32_t> layers_of(const graph::ChunkPlan& chunk,
                                                         const model::ModelConfig& config) {
  std::vector<std::int32_t> out;
  for (std::int32_t l = chunk.layer_first; l < chunk.layer_last; ++l) out.push_back(l);
  if (chunk.is_last) {
    for (std::int64_t l = config.num_hidden_layers; l < config.layer_count(); ++l) {
      out.push_back(static_cast<std::int32_t>(l));
    }
  }
  return out;
}

[[nodiscard]] inline std::vector<std::int32_t> moe_layers_of(const graph::ChunkPlan& chunk,
                                                             const model::ModelConfig& config) {
  std::vector<std::int32_t> out = layers_of(chunk, config);
  std::erase_if(out, [&](std::int32_t l) { return !config.is_moe(l); });
  return out;
}

}  // namespace sluice::actors
