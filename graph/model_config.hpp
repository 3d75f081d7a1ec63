// The architecture: the keys of a Hugging Face deepseek_v3 config.json, under their own names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/base/result.hpp"
#include "kernels/base/visit_fields.hpp"

namespace sluice::model {

/// rope_scaling of type "yarn" (report 4.3; DeepSeek-V3 inference/model.py).
struct Yarn {
  double factor = 1;
  std::int64_t original_max_position_embeddings = 4096;
  double beta_fast = 32;
  double beta_slow = 1;
  /// Absent: as transformers does, attention factor 0.1 ln(factor) + 1 on cos and sin.
  std::optional<double> mscale;
  std::optional<double> mscale_all_dim;
  std::optional<double> attention_factor;
};

struct ModelConfig {
  std::int64_t vocab_size = 129280;
  std::int64_t hidden_size = 7168;
  std::int64_t intermediate_size = 18432;
  std::int64_t moe_intermediate_size = 2048;
  std::int64_t num_hidden_layers = 61;
  std::int64_t num_attention_heads = 128;
  std::int64_t n_shared_experts = 1;
  std::int64_t n_routed_experts = 256;
  double routed_scaling_factor = 2.5;
  std::int64_t kv_lora_rank = 512;
  std::int64_t q_lora_rank = 1536;  ///< 0: queries without a latent
  std::int64_t qk_rope_head_dim = 64;
  std::int64_t v_head_dim = 128;
  std::int64_t qk_nope_head_dim = 128;
  std::int64_t n_group = 8;
  std::int64_t topk_group = 4;
  std::int64_t num_experts_per_tok = 8;
  std::int64_t first_k_dense_replace = 3;
  std::int64_t moe_layer_freq = 1;
  bool norm_topk_prob = true;
  std::int64_t max_position_embeddings = 4096;
  double initializer_range = 0.02;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  bool rope_interleave = true;
  bool tie_word_embeddings = false;
  std::int64_t num_nextn_predict_layers = 0;  ///< MTP depths
  std::int64_t bos_token_id = 0;
  std::int64_t eos_token_id = 1;
  std::optional<Yarn> yarn;

  /// Numbers of the integer, real and flag keys above; used to parse, dump, override and explain
  /// them.
  template <class V>
  void visit_fields(V&& visit);

  [[nodiscard]] std::int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// Width of one head in kv_b_proj's output: k_nope then v.
  [[nodiscard]] std::int64_t kv_head_dim() const { return qk_nope_head_dim + v_head_dim; }
  /// Main layers and MTP blocks; an MTP block is layer num_hidden_layers + depth - 1.
  [[nodiscard]] std::int64_t layer_count() const {
    return num_hidden_layers + num_nextn_predict_layers;
  }
  [[nodiscard]] bool is_moe(std::int64_t layer) const {
    return layer >= num_hidden_layers ||
           (layer >= first_k_dense_replace && layer % moe_layer_freq == 0);
  }
  [[nodiscard]] std::int64_t shared_intermediate_size() const {
    return n_shared_experts * moe_intermediate_size;
  }

  /// What cannot be computed: sizes out of range, groups that do not divide the experts, a top-k
  /// that the kept groups cannot reach, odd rope dimension, non-finite numbers, sizes whose
  /// products overflow. Names key and value.
  [[nodiscard]] Status validate() const;
};

/// Parameters (e_score_correction_bias among them) and tensors, MTP blocks included, stored-only
/// copies not. In double: exact below 2^53, and defined for sizes that validate() would refuse as
/// too many.
struct ModelSize {
  double parameters = 0;
  double tensors = 0;
};
[[nodiscard]] ModelSize size_of(const ModelConfig& config);

template <class V>
void ModelConfig::visit_fields(V&& visit) {
  constexpr double kSizeMax = 1 << 24;
  const auto size = [&](std::string_view name, std::int64_t& value, double low,
                        std::string_view doc) {
    visit(field(name, value).range(low, kSizeMax).doc(doc));
  };
  size("vocab_size", vocab_size, 2, "tokens in the vocabulary");
  size("hidden_size", hidden_size, 1, "width of the residual stream");
  size("intermediate_size", intermediate_size, 1, "inner width of the dense feed-forward layers");
  size("moe_intermediate_size", moe_intermediate_size, 1, "inner width of one expert");
  size("num_hidden_layers", num_hidden_layers, 1, "main layers, without multi-token prediction");
  size("num_attention_heads", num_attention_heads, 1, "attention heads");
  size("n_shared_experts", n_shared_experts, 0,
       "shared experts, computed as one of n times the width");
  size("n_routed_experts", n_routed_experts, 1, "routed experts of a layer");
  visit(field("routed_scaling_factor", routed_scaling_factor)
            .range(0, 1e6)
            .doc("factor on the gate's weights"));
  size("kv_lora_rank", kv_lora_rank, 1, "width of the key-value latent");
  size("q_lora_rank", q_lora_rank, 0, "width of the query latent; 0 for none");
  size("qk_rope_head_dim", qk_rope_head_dim, 2, "rotated part of a head, even");
  size("v_head_dim", v_head_dim, 1, "width of a value head");
  size("qk_nope_head_dim", qk_nope_head_dim, 1, "part of a query and key head without rotation");
  size("n_group", n_group, 1, "expert groups; divides n_routed_experts");
  size("topk_group", topk_group, 1, "groups a token may use");
  size("num_experts_per_tok", num_experts_per_tok, 1, "routed experts of a token");
  size("first_k_dense_replace", first_k_dense_replace, 0,
       "leading layers with a dense feed-forward");
  size("moe_layer_freq", moe_layer_freq, 1, "every how many layers is a mixture of experts");
  visit(field("norm_topk_prob", norm_topk_prob).doc("divide a token's gate weights by their sum"));
  size("max_position_embeddings", max_position_embeddings, 1, "longest sequence");
  visit(field("initializer_range", initializer_range)
            .range(0, 10)
            .doc("standard deviation of new weights"));
  visit(field("rms_norm_eps", rms_norm_eps).range(1e-30, 1).doc("epsilon of RMSNorm"));
  visit(field("rope_theta", rope_theta).range(1, 1e12).doc("base of the rotary frequencies"));
  visit(field("rope_interleave", rope_interleave).doc("pairs of rotated lanes are neighbours"));
  visit(field("tie_word_embeddings", tie_word_embeddings).doc("the output head is the embedding"));
  visit(field("num_nextn_predict_layers", num_nextn_predict_layers)
            .range(0, 64)
            .doc("depths of multi-token prediction"));
  visit(field("bos_token_id", bos_token_id).range(-1, kSizeMax).doc("token that begins a text"));
  visit(field("eos_token_id", eos_token_id).range(-1, kSizeMax).doc("token that ends a text"));
}

}  // namespace sluice::model
