// Rotary tables with YaRN.
#include "graph/model/rope_table.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::model {
namespace {

/// YaRN's m(s): how much attention logits are sharpened for a context `factor` times longer.
double yarn_scale(double factor, double s) {
  return factor <= 1 ? 1.0 : 0.1 * s * std::log(factor) + 1.0;
}

/// The (fractional) pair that turns `turns` times over the original context.
double pair_with_turns(const ModelConfig& config, double turns) {
  const auto context = static_cast<double>(config.yarn->original_max_position_embeddings);
  return static_cast<double>(config.qk_rope_head_dim) *
         std::log(context / (turns * 2 * std::numbers::pi)) / (2 * std::log(config.rope_theta));
}

/// Which share of a pair's frequency is divided by `factor`: 0 below `low`, 1 above `high`.
struct Ramp {
  float low = 0, high = 1;
  [[nodiscard]] float at(std::int64_t pair) const {
    return std::clamp((static_cast<float>(pair) - low) / (high - low), 0.0f, 1.0f);
  }
};

Ramp yarn_ramp(const ModelConfig& config) {
  const auto last = static_cast<double>(config.qk_rope_head_dim - 1);
  const double low = std::max(std::floor(pair_with_turns(config, config.yarn->beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_with_turns(config, config.yarn->beta_slow)), last);
  if (low == high) high += 0.001;
  return {static_cast<float>(low), static_cast<float>(high)};
}

}  // namespace

std::vector<float> rope_frequencies(const ModelConfig& config) {
  const std::int64_t pairs = config.qk_rope_head_dim / 2;
  std::vector<float> frequencies(static_cast<std::size_t>(pairs));
  for (std::int64_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.qk_rope_head_dim);
    const auto period = static_cast<float>(std::pow(config.rope_theta, exponent));
    float frequency = 1.0f / period;
    if (config.yarn) {
      const float kept = 1.0f - yarn_ramp(config).at(i);
      const float slow = 1.0f / (static_cast<float>(config.yarn->factor) * period);
      frequency = slow * (1.0f - kept) + frequency * kept;
    }
    frequencies[static_cast<std::size_t>(i)] = frequency;
  }
  return frequencies;
}

double rope_attention_factor(const ModelConfig& config) {
  if (!config.yarn) return 1.0;
  const Yarn& yarn = *config.yarn;
  if (yarn.attention_factor) return *yarn.attention_factor;
  const double all = yarn.mscale_all_dim.value_or(0);
  if (yarn.mscale.value_or(0) != 0 && all != 0)
    return yarn_scale(yarn.factor, *yarn.mscale) / yarn_scale(yarn.factor, all);
  return yarn_scale(yarn.factor, 1.0);
}

float attention_scale(const ModelConfig& config) {
  double scale = 1.0 / std::sqrt(static_cast<double>(config.qk_head_dim()));
  if (config.yarn && config.yarn->mscale_all_dim.value_or(0) != 0) {
    const double m = yarn_scale(config.yarn->factor, *config.yarn->mscale_all_dim);
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

kernels::RopeTable make_rope_table(const ModelConfig& config, std::int64_t positions) {
  const std::vector<float> frequencies = rope_frequencies(config);
  const auto factor = static_cast<float>(rope_attention_factor(config));
  const auto pairs = static_cast<std::int64_t>(frequencies.size());
  kernels::RopeTable table{Tensor::zeros(DType::kF32, Shape{positions, pairs}),
                           Tensor::zeros(DType::kF32, Shape{positions, pairs})};
  const MatrixView<float> cosine = table.cosine.matrix<float>();
  const MatrixView<float> sine = table.sine.matrix<float>();
  for (std::int64_t t = 0; t < positions; ++t) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(t) * frequencies[static_cast<std::size_t>(i)];
      cosine.row(t)[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
      sine.row(t)[i] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
    }
  }
  return table;
}

}  // namespace sluice::model
