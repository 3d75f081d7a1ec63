// Choosing the next token from logits.
#pragma once

#include <span>

#include "kernels/cpu/compute_context.hpp"

namespace sluice::kernels {

/// Index of the largest logit; the lowest index among equals.
[[nodiscard]] std::int32_t argmax(std::span<const float> logits);

struct SampleDesc {
  float temperature = 1.0f;  ///< 0: greedy
  float top_p = 1.0f;        ///< keep the smallest set of tokens whose probability reaches top_p
};
/// `uniform` in [0, 1) decides. Deterministic: tokens by falling probability, lower index first
/// among equals.
[[nodiscard]] std::int32_t sample(std::span<const float> logits, SampleDesc desc, float uniform);

}  // namespace sluice::kernels
