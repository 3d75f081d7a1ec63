// Rotary tables and the attention scale: plain RoPE, and YaRN as transformers' deepseek_v3 computes
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/model_config.hpp"
#include "kernels/rope/rope.hpp"

namespace sluice::model {

/// Angle per position of each of qk_rope_head_dim / 2 pairs. Plain: theta^(-2i/dim). YaRN divides
/// the slow ones by `factor`, keeps the fast ones, and blends linearly between the pairs that turn
/// beta_fast and beta_slow times over the original context (Peng et al., "YaRN", 2023, section 3.2;
/// report 4.3). Rounded to fp32 at the same places as transformers, since a position multiplies the
/// error.
[[nodiscard]] std::vector<float> rope_frequencies(const ModelConfig& config);

/// Factor on cosine and sine. With YaRN: attention_factor if given, else m(mscale) /
/// m(mscale_all_dim) if both are given and not 0, else m(1), with m(s) = 0.1 s ln(factor) + 1 (1
/// for factor <= 1).
[[nodiscard]] double rope_attention_factor(const ModelConfig& config);

/// Factor on attention scores: qk_head_dim^-0.5, times m(mscale_all_dim)² where YaRN gives one.
[[nodiscard]] float attention_scale(const ModelConfig& config);

/// Cosine and sine of positions 0 .. positions-1.
[[nodiscard]] kernels::RopeTable make_rope_table(const ModelConfig& config, std::int64_t positions);

}  // namespace sluice::model
