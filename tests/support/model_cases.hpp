// Small architectures that cover the branches of the model, and random tokens for them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/model_config.hpp"
#include "kernels/base/random.hpp"
#include "kernels/base/tensor.hpp"

namespace sluice::test {

/// One dense layer and two of experts, with a query latent and one MTP depth; sizes are odd.
inline model::ModelConfig small_config() {
  model::ModelConfig c;
  c.vocab_size = 61;
  c.hidden_size = 36;
  c.intermediate_size = 44;
  c.moe_intermediate_size = 20;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 3;
  c.n_routed_experts = 8;
  c.n_group = 4;
  c.topk_group = 2;
  c.num_experts_per_tok = 3;
  c.kv_lora_rank = 14;
  c.q_lora_rank = 18;
  c.qk_rope_head_dim = 6;
  c.qk_nope_head_dim = 10;
  c.v_head_dim = 7;
  c.first_k_dense_replace = 1;
  c.max_position_embeddings = 64;
  c.initializer_range = 0.15;
  c.num_nextn_predict_layers = 1;
  return c;
}

/// i32 [sequences, length + 1 + depths].
inline Tensor random_tokens(const model::ModelConfig& config, std::int64_t sequences,
                            std::int64_t length, std::uint64_t seed) {
  Tensor tokens =
      Tensor::zeros(DType::kI32, Shape{sequences, length + 1 + config.num_nextn_predict_layers});
  const Random random(seed, RandomPurpose::kTest);
  std::uint64_t i = 0;
  for (std::int32_t& token : tokens.values<std::int32_t>())
    token =
        static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(config.vocab_size), i++));
  return tokens;
}

}  // namespace sluice::test
