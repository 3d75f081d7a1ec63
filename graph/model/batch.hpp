// One micro-batch as layers see it, and what all layers of a model share.
#pragma once

#include <cstdint>
#include <memory>

#include "graph/model/parameters.hpp"
#include "graph/model_config.hpp"
#include "kernels/rope/rope.hpp"

namespace sluice::model {

/// `sequences` runs of `length` rows each; row s · length + t is position positions[s · length +
/// t].
struct Batch {
  std::int64_t sequences = 0;
  std::int64_t length = 0;
  Tensor positions;  ///< i32 [sequences · length]
  [[nodiscard]] std::int64_t tokens() const { return sequences * length; }
};

/// Positions 0 .. length-1 for every sequence.
[[nodiscard]] Batch make_batch(std::int64_t sequences, std::int64_t length);

/// Constants of a model: config and rotary tables (YaRN applied) for positions below `positions`.
struct ModelConstants {
  ModelConfig config;
  Recipe recipe = Recipe::kFp32;
  kernels::RopeTable rope;
  float attention_scale = 1;  ///< qk_head_dim^-0.5, times YaRN's mscale_all_dim factor squared
};
[[nodiscard]] std::shared_ptr<const ModelConstants> make_constants(const ModelConfig& config,
                                                                   Recipe recipe,
                                                                   std::int64_t positions);

}  // namespace sluice::model
