// Which layers of the model a stage runs.
#pragma once

#include <vector>

#include "graph/model/config.hpp"
#include "graph/plan.hpp"

namespace sluice::actors {

/// Layer ids: its main layers, then, on the last stage, the MTP depths' layers.
[[nodiscard]] inline std::vector<std::int32_t> layers_of(const graph::StagePlan& stage,
                                                         const model::ModelConfig& config) {
  std::vector<std::int32_t> out;
  for (std::int32_t l = stage.layer_first; l < stage.layer_last; ++l) out.push_back(l);
  if (stage.is_last) {
    for (std::int64_t l = config.num_hidden_layers; l < config.layer_count(); ++l) {
      out.push_back(static_cast<std::int32_t>(l));
    }
  }
  return out;
}

[[nodiscard]] inline std::vector<std::int32_t> moe_layers_of(const graph::StagePlan& stage,
                                                             const model::ModelConfig& config) {
  std::vector<std::int32_t> out = layers_of(stage, config);
  std::erase_if(out, [&](std::int32_t l) { return !config.is_moe(l); });
  return out;
}

}  // namespace sluice::actors
