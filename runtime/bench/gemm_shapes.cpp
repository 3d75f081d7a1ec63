// From the architecture to shapes, fused as graph/model fuses them.
#include "runtime/bench/gemm_shapes.hpp"

namespace sluice::bench {
namespace {

// A map from `inputs` to `outputs` numbers that `layers` layers have.
struct LinearShape {
  std::string name;
  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t layers;
  bool routed = false;
  bool inputs_are_tokens = false;  // routed: x is gathered by token, or y's gradient is
};

std::vector<LinearShape> linear_shapes(const model::ModelConfig& c) {
  std::int64_t moe = 0;
  for (std::int64_t layer = 0; layer < c.num_hidden_layers; ++layer) moe += c.is_moe(layer) ? 1 : 0;
  const std::int64_t layers = c.num_hidden_layers;
  const std::int64_t queries = c.num_attention_heads * c.qk_head_dim();
  const std::int64_t latents = c.kv_lora_rank + c.qk_rope_head_dim;
  std::vector<LinearShape> shapes;
  const auto add = [&](LinearShape shape) {
    if (shape.layers > 0 && shape.inputs > 0 && shape.outputs > 0) shapes.push_back(shape);
  };
  add({"qkv_a_proj", c.hidden_size, (c.q_lora_rank > 0 ? c.q_lora_rank : queries) + latents,
       layers});
  add({"q_b_proj", c.q_lora_rank, queries, layers});
  add({"kv_b_proj", c.kv_lora_rank, c.num_attention_heads * c.kv_head_dim(), layers});
  add({"o_proj", c.num_attention_heads * c.v_head_dim, c.hidden_size, layers});
  add({"gate_up_proj", c.hidden_size, 2 * c.intermediate_size, layers - moe});
  add({"down_proj", c.intermediate_size, c.hidden_size, layers - moe});
  add({"gate", c.hidden_size, c.n_routed_experts, moe});
  add({"shared_gate_up_proj", c.hidden_size, 2 * c.shared_intermediate_size(), moe});
  add({"shared_down_proj", c.shared_intermediate_size(), c.hidden_size, moe});
  add({"experts_gate_up_proj", c.hidden_size, 2 * c.moe_intermediate_size, moe, true, true});
  add({"experts_down_proj", c.moe_intermediate_size, c.hidden_size, moe, true, false});
  add({"lm_head", c.hidden_size, c.vocab_size, 1});
  return shapes;
}

}  // namespace

std::vector<GemmTask> cube_tasks() {
  std::vector<GemmTask> tasks;
  for (const std::int64_t side : {512, 1024, 2048, 4096}) {
    tasks.push_back({.name = "cube/" + std::to_string(side), .m = side, .n = side, .k = side});
  }
  return tasks;
}

std::vector<GemmTask> model_tasks(const std::string& name, const model::ModelConfig& config,
                                  std::int64_t tokens) {
  std::vector<GemmTask> tasks;
  for (const LinearShape& s : linear_shapes(config)) {
    const std::int64_t rows = s.routed ? tokens * config.num_experts_per_tok : tokens;
    GemmTask task{.name = name + "/" + s.name,
                  .groups = s.routed ? config.n_routed_experts : 1,
                  .top_k = s.routed ? config.num_experts_per_tok : 0,
                  .calls = s.layers};
    const auto add = [&](const char* use_name, GemmUse use, std::int64_t m, std::int64_t n,
                         std::int64_t k, bool gathers_tokens) {
      GemmTask one = task;
      one.name += std::string("/") + use_name;
      one.use = use;
      one.m = m;
      one.n = n;
      one.k = k;
      one.gathers_tokens = gathers_tokens;
      tasks.push_back(one);
    };
    const bool gathers = s.routed && s.inputs_are_tokens;
    add("forward", GemmUse::kForward, rows, s.outputs, s.inputs, gathers);
    add("input_gradient", GemmUse::kInputGradient, rows, s.inputs, s.outputs, false);
    add("weight_gradient", GemmUse::kWeightGradient, s.outputs, s.inputs, rows, gathers);
  }
  return tasks;
}

}  // namespace sluice::bench
