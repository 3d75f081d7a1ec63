// Bytes and operations of each part of a model. Members of the layers' Saved structs are named
// where they are counted.
#include "graph/model/summary.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graph/model/ends.hpp"

namespace sluice::model {
namespace {

class Summary {
 public:
  Summary(const ModelConfig& config, Recipe recipe, std::int64_t sequence_length, ParameterUse use,
          const kernels::ComputeContext& context)
      : config_(config),
        type_(activation_dtype(recipe)),
        bytes_(static_cast<std::int64_t>(size_of(type_))),
        length_(sequence_length),
        use_(use),
        context_(context) {}

  graph::ModelSummary make() {
    graph::ModelSummary model;
    graph::UnitSummary embedding{.name = "embedding"};
    embedding.parameters = config_.vocab_size * hidden();
    model.units.push_back(embedding);
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      graph::UnitSummary unit{.name = fmt::format("layer {}", layer),
                              .is_moe = config_.is_moe(layer)};
      add_layer(unit);
      model.units.push_back(unit);
    }
    model.units.push_back(head());
    for (std::int64_t depth = 1; depth <= config_.num_nextn_predict_layers; ++depth)
      model.units.push_back(mtp(depth));
    model.hidden_bytes_per_token = bytes_ * hidden();
    model.vocab_size = config_.vocab_size;
    model.n_routed_experts = config_.n_routed_experts;
    model.num_experts_per_tok = config_.num_experts_per_tok;
    model.mtp_depth = config_.num_nextn_predict_layers;
    model.weight_bytes = static_cast<double>(bytes_);
    model.master_bytes = type_ == DType::kF32 ? 0 : 4;
    model.scratch_bytes_per_token = scratch_per_token();
    model.logits_bytes_per_token =
        config_.vocab_size * (type_ == DType::kF32 ? kFloat : kFloat + bytes_);
    model.logits_bytes_max = Head::rows_in_block(config_.vocab_size) * model.logits_bytes_per_token;
    return model;
  }

 private:
  static constexpr std::int64_t kFloat = 4;

  [[nodiscard]] std::int64_t hidden() const { return config_.hidden_size; }
  [[nodiscard]] std::int64_t queries() const {
    return config_.num_attention_heads * config_.qk_head_dim();
  }
  [[nodiscard]] std::int64_t keys_values() const {
    return config_.num_attention_heads * config_.kv_head_dim();
  }
  [[nodiscard]] std::int64_t values() const {
    return config_.num_attention_heads * config_.v_head_dim;
  }
  /// Columns of the product that reads a layer's input.
  [[nodiscard]] std::int64_t projected() const {
    return (config_.q_lora_rank > 0 ? config_.q_lora_rank : queries()) + config_.kv_lora_rank +
           config_.qk_rope_head_dim;
  }

  [[nodiscard]] std::int64_t packed(std::int64_t outputs, std::int64_t inputs, DType type) const {
    auto total = kernels::PackedB::size_bytes(context_, type, inputs, outputs);
    if (use_ != ParameterUse::kInference)
      total += kernels::PackedB::size_bytes(context_, type, outputs, inputs);
    return static_cast<std::int64_t>(total);
  }
  void add_linear(graph::UnitSummary& unit, std::int64_t outputs, std::int64_t inputs) const {
    add_linear(unit, outputs, inputs, type_);
  }
  void add_linear(graph::UnitSummary& unit, std::int64_t outputs, std::int64_t inputs,
                  DType type) const {
    unit.parameters += outputs * inputs;
    unit.packed_bytes += packed(outputs, inputs, type);
    unit.forward_operations_per_token += kernels::gemm_operations(1, outputs, inputs);
  }
  void add_feed_forward(graph::UnitSummary& unit, std::int64_t inner) const {
    add_linear(unit, 2 * inner, hidden());
    add_linear(unit, hidden(), inner);
    unit.saved_bytes_per_token += bytes_ * 3 * inner;  // gate_up, activated
  }
  /// Its weight, and its input and inverse_rms where it keeps them.
  void add_norm(graph::UnitSummary& unit, std::int64_t width, std::int64_t kept) const {
    unit.parameters += width;
    unit.saved_bytes_per_token += kFloat + bytes_ * kept;
  }

  void add_attention(graph::UnitSummary& unit) const {
    const std::int64_t heads = config_.num_attention_heads;
    add_linear(unit, projected(), hidden());
    unit.saved_bytes_per_token += bytes_ * (hidden() + projected());  // x, projected
    if (config_.q_lora_rank > 0) {
      add_linear(unit, queries(), config_.q_lora_rank);
      add_norm(unit, config_.q_lora_rank, config_.q_lora_rank);  // q_normed
      unit.saved_bytes_per_token += bytes_ * queries();          // q
    }
    add_linear(unit, keys_values(), config_.kv_lora_rank);
    add_norm(unit, config_.kv_lora_rank, config_.kv_lora_rank);  // kv_normed
    add_linear(unit, hidden(), values());
    unit.saved_bytes_per_token +=
        bytes_ * (keys_values() + values()) + kFloat * heads;  // kv, out, log_sum_exp
    unit.forward_operations_per_token +=
        static_cast<double>((length_ + 1) * heads * (config_.qk_head_dim() + config_.v_head_dim));
  }

  void add_layer(graph::UnitSummary& unit) const {
    add_norm(unit, hidden(), hidden());  // the layer's input
    add_attention(unit);
    add_norm(unit, hidden(), hidden());               // hidden
    unit.saved_bytes_per_token += bytes_ * hidden();  // normed
    if (!unit.is_moe) return add_feed_forward(unit, config_.intermediate_size);
    const std::int64_t experts = config_.n_routed_experts, inner = config_.moe_intermediate_size;
    add_linear(unit, experts, hidden(), DType::kF32);
    unit.parameters += experts;  // e_score_correction_bias
    unit.saved_bytes_per_token += kFloat * (experts + 2 * config_.num_experts_per_tok);  // routing
    if (config_.n_shared_experts > 0) add_feed_forward(unit, config_.shared_intermediate_size());
    unit.expert_parameters = 3 * inner * hidden();
    if (use_ == ParameterUse::kInference)
      unit.expert_packed_bytes =
          packed(2 * inner, hidden(), type_) + packed(hidden(), inner, type_);
    unit.expert_saved_bytes_per_row =
        bytes_ * 3 * inner + kFloat;  // gate_up, activated, row_weights
    unit.expert_operations_per_row = 2.0 * static_cast<double>(unit.expert_parameters);
  }

  [[nodiscard]] graph::UnitSummary head() const {
    graph::UnitSummary unit{.name = "head"};
    add_norm(unit, hidden(), hidden());                   // the last layer's output
    unit.saved_bytes_per_token += 2 * bytes_ * hidden();  // what the head reads, and its gradient
    add_linear(unit, config_.vocab_size, hidden());
    return unit;
  }

  [[nodiscard]] graph::UnitSummary mtp(std::int64_t depth) const {
    graph::UnitSummary unit{.name = fmt::format("mtp {}", depth), .is_moe = true};
    add_norm(unit, hidden(), hidden());                   // enorm: the embedding
    add_norm(unit, hidden(), 0);                          // hnorm: what the depth before gave
    add_linear(unit, hidden(), 2 * hidden());             // eh_proj
    unit.saved_bytes_per_token += 2 * bytes_ * hidden();  // joined
    add_layer(unit);
    add_norm(unit, hidden(), hidden());                   // shared_head.norm: the layer's output
    unit.saved_bytes_per_token += 2 * bytes_ * hidden();  // what the head reads, and its gradient
    unit.forward_operations_per_token +=
        kernels::gemm_operations(1, config_.vocab_size, hidden());  // the shared head
    return unit;
  }

  /// The largest set of tensors that a pass holds beside what is kept.
  [[nodiscard]] std::int64_t scratch_per_token() const {
    const std::int64_t inner = config_.moe_intermediate_size;
    const std::int64_t rows = config_.num_experts_per_tok;
    if (use_ == ParameterUse::kInference)
      return bytes_ * (3 * hidden() + projected() + queries() + keys_values() + 2 * values());
    // attention_backward: dy, dout, dprojected, dq, dkv.
    const std::int64_t attention = hidden() + values() + projected() + queries() + keys_values();
    // Experts: dy, dshared; the gradients of activations and inputs by row; their partial sums.
    const std::int64_t experts = 2 * hidden() + rows * (inner + 2 * hidden());
    const std::int64_t dense = 2 * hidden() + config_.intermediate_size;
    return bytes_ * std::max({attention, experts, dense});
  }

  const ModelConfig& config_;
  DType type_;
  std::int64_t bytes_;
  std::int64_t length_;
  ParameterUse use_;
  const kernels::ComputeContext& context_;
};

}  // namespace

graph::ModelSummary summarize(const ModelConfig& config, Recipe recipe,
                              std::int64_t sequence_length, ParameterUse use,
                              const kernels::ComputeContext& context) {
  return Summary(config, recipe, sequence_length, use, context).make();
}

}  // namespace sluice::model
