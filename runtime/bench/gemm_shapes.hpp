// The matrix products of one training step of a model, as shapes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/model_config.hpp"

namespace sluice::bench {

/// How a product is called in training; decides its layouts, and what is packed before.
enum class GemmUse {
  kForward,         ///< y [m, n] = x · Wᵀ, W packed
  kInputGradient,   ///< dx [m, n] = dy · W, W packed
  kWeightGradient,  ///< dW [m, n] += dyᵀ · x, fp32
  kPlain,           ///< c = a · b, nothing packed before
};

/// One product, or one call for `groups` products: then the rows that belong to groups are m for
/// forward and input gradients and k for weight gradients, summed over the groups.
struct GemmTask {
  std::string name;  ///< "quick/q_b_proj/forward", "cube/1024"
  GemmUse use = GemmUse::kPlain;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t groups = 1;
  std::int64_t top_k = 0;  ///< > 0: rows go to groups as tokens to experts, `top_k` groups each
  bool gathers_tokens = false;  ///< grouped: one operand is indexed by token
  std::int64_t calls = 1;       ///< in one step: how many layers have it
};

/// c = a · b at 512, 1024, 2048 and 4096.
[[nodiscard]] std::vector<GemmTask> cube_tasks();

/// Forward, input-gradient and weight-gradient products of every linear map on `tokens` tokens, the
/// routed experts grouped. Multi-token prediction is left out, as in the published step.
[[nodiscard]] std::vector<GemmTask> model_tasks(const std::string& name,
                                                const model::ModelConfig& config,
                                                std::int64_t tokens);

}  // namespace sluice::bench
