// Checks an architecture before anything is computed or allocated for it.
#include "graph/model_config.hpp"

#include <cmath>
#include <type_traits>

namespace sluice::model {
namespace {

// More than any model known, and so few that every later product of sizes fits 63 bits.
constexpr std::int64_t kLayersMax = 10000;
constexpr double kParametersMax = 2e13;
// A released DeepSeek-V3 has 46,000 tensors without scales.
constexpr double kTensorsMax = 2e6;

template <class T>
Status check_range(const Field<T>& f) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    const auto value = static_cast<double>(f.value);
    if (!(value >= f.minimum && value <= f.maximum)) {  // written so that NaN fails
      return invalid_input("{} is {}, must be from {} to {}", f.name, f.value, f.minimum,
                           f.maximum);
    }
  }
  return {};
}

Status check_ranges(ModelConfig config) {
  Status status;
  config.visit_fields([&](auto&& f) {
    if (status) status = check_range(f);
  });
  return status;
}

Status check_gate(const ModelConfig& c) {
  if (c.n_routed_experts % c.n_group != 0) {
    return invalid_input("n_group {} does not divide n_routed_experts {}", c.n_group,
                         c.n_routed_experts);
  }
  if (c.topk_group > c.n_group) {
    return invalid_input("topk_group {} is more than n_group {}", c.topk_group, c.n_group);
  }
  const std::int64_t reachable = c.topk_group * (c.n_routed_experts / c.n_group);
  if (c.num_experts_per_tok > reachable) {
    return invalid_input(
        "num_experts_per_tok {} cannot be reached: topk_group {} of n_group {} hold {} of "
        "n_routed_experts {}",
        c.num_experts_per_tok, c.topk_group, c.n_group, reachable, c.n_routed_experts);
  }
  return {};
}

Status check_real(std::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return invalid_input("{} is {}, must be from {} to {}", name, value, low, high);
}

Status check_real(std::string_view name, const std::optional<double>& value, double low,
                  double high) {
  return value ? check_real(name, *value, low, high) : Status{};
}

Status check_yarn(const Yarn& yarn) {
  SLUICE_TRY(check_real("rope_scaling.factor", yarn.factor, 1, 1e6));
  SLUICE_TRY(check_real("rope_scaling.original_max_position_embeddings",
                        static_cast<double>(yarn.original_max_position_embeddings), 1, 1 << 24));
  SLUICE_TRY(check_real("rope_scaling.beta_fast", yarn.beta_fast, 1e-6, 1e6));
  SLUICE_TRY(check_real("rope_scaling.beta_slow", yarn.beta_slow, 1e-6, 1e6));
  if (yarn.beta_fast < yarn.beta_slow) {
    return invalid_input("rope_scaling.beta_fast {} is less than beta_slow {}", yarn.beta_fast,
                         yarn.beta_slow);
  }
  SLUICE_TRY(check_real("rope_scaling.mscale", yarn.mscale, 0, 1e3));
  SLUICE_TRY(check_real("rope_scaling.mscale_all_dim", yarn.mscale_all_dim, 0, 1e3));
  return check_real("rope_scaling.attention_factor", yarn.attention_factor, 1e-6, 1e3);
}

Status check_tokens(const ModelConfig& c) {
  if (c.bos_token_id >= c.vocab_size) {
    return invalid_input("bos_token_id {} is not below vocab_size {}", c.bos_token_id,
                         c.vocab_size);
  }
  if (c.eos_token_id >= c.vocab_size) {
    return invalid_input("eos_token_id {} is not below vocab_size {}", c.eos_token_id,
                         c.vocab_size);
  }
  return {};
}

double real(std::int64_t value) { return static_cast<double>(value); }

ModelSize attention_size(const ModelConfig& c) {
  const double hidden = real(c.hidden_size);
  const double latent = real(c.q_lora_rank);
  const double query = real(c.num_attention_heads * c.qk_head_dim());
  const double queries = latent > 0 ? latent * hidden + latent + query * latent : query * hidden;
  const double keys_values = hidden * real(c.kv_lora_rank + c.qk_rope_head_dim) +
                             real(c.kv_lora_rank) +
                             real(c.num_attention_heads * c.kv_head_dim()) * real(c.kv_lora_rank);
  const double output = real(c.num_attention_heads * c.v_head_dim) * hidden;
  return {queries + keys_values + output, latent > 0 ? 7.0 : 5.0};
}

ModelSize feed_forward_size(const ModelConfig& c, bool is_moe) {
  const double hidden = real(c.hidden_size);
  if (!is_moe) return {3 * hidden * real(c.intermediate_size), 3};
  const double experts = real(c.n_routed_experts);
  const double width =
      real(c.n_routed_experts + c.n_shared_experts) * real(c.moe_intermediate_size);
  return {experts * hidden + experts + 3 * hidden * width,
          2 + 3 * experts + (c.n_shared_experts > 0 ? 3 : 0)};
}

Status check_size(const ModelConfig& c) {
  if (c.num_hidden_layers > kLayersMax) {
    return invalid_input("num_hidden_layers {} is more than {}", c.num_hidden_layers, kLayersMax);
  }
  const ModelSize size = size_of(c);
  if (size.parameters > kParametersMax) {
    return invalid_input("the sizes give about {:.1e} parameters, more than {:.0e}",
                         size.parameters, kParametersMax);
  }
  if (size.tensors > kTensorsMax) {
    return invalid_input(
        "num_hidden_layers {} and n_routed_experts {} give {:.1e} tensors, more than {:.0e}",
        c.num_hidden_layers, c.n_routed_experts, size.tensors, kTensorsMax);
  }
  return {};
}

}  // namespace

ModelSize size_of(const ModelConfig& config) {
  const double hidden = real(config.hidden_size);
  ModelSize size{2 * real(config.vocab_size) * hidden + hidden, 3};
  for (std::int64_t layer = 0; layer < config.layer_count(); ++layer) {
    const ModelSize attention = attention_size(config);
    const ModelSize feed_forward = feed_forward_size(config, config.is_moe(layer));
    size.parameters += 2 * hidden + attention.parameters + feed_forward.parameters;
    size.tensors += 2 + attention.tensors + feed_forward.tensors;
  }
  const double depths = real(config.num_nextn_predict_layers);
  size.parameters += depths * (2 * hidden * hidden + 3 * hidden);  // eh_proj and three norms
  size.tensors += depths * 4;
  return size;
}

Status ModelConfig::validate() const {
  SLUICE_TRY(check_ranges(*this));
  if (qk_rope_head_dim % 2 != 0) {
    return invalid_input("qk_rope_head_dim {} is odd; it is rotated in pairs", qk_rope_head_dim);
  }
  if (tie_word_embeddings) {
    return invalid_input(
        "tie_word_embeddings is true; Sluice keeps embedding and head apart, as DeepSeek-V3 does");
  }
  SLUICE_TRY(check_gate(*this));
  if (yarn) SLUICE_TRY(check_yarn(*yarn));
  SLUICE_TRY(check_tokens(*this));
  return check_size(*this);
}

}  // namespace sluice::model
