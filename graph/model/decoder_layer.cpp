// Decoder layers: residual stream, norms, MLA, then a feed-forward or the stage's side of
// DeepSeekMoE.
#include "graph/model/decoder_layer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "graph/model/feed_forward.hpp"
#include "kernels/convert/convert.hpp"
#include "kernels/norm/rms_norm.hpp"

namespace sluice::model {
namespace {

kernels::GateDesc gate_desc(const ModelConfig& config) {
  return {.experts = config.n_routed_experts,
          .top_k = config.num_experts_per_tok,
          .groups = config.n_group,
          .groups_kept = config.topk_group,
          .normalize = config.norm_topk_prob,
          .scaling = static_cast<float>(config.routed_scaling_factor)};
}

/// x as fp32: itself, or a widened copy.
Tensor widened(const kernels::ComputeContext& context, const Tensor& x) {
  if (x.dtype() == DType::kF32) return x;
  Tensor wide = context.make(DType::kF32, x.shape());
  kernels::convert(context, x.view(), wide.view());
  return wide;
}

void add_to(const kernels::ComputeContext& context, const Tensor& a, const Tensor& sum) {
  kernels::add(context, a.view(), sum.view(), sum.view());
}

}  // namespace

struct DecoderLayer::Weights {
  std::int64_t layer = 0;
  ParameterSet* set = nullptr;
  Norm attention_norm;
  Mla mla;
  Norm ffn_norm;
  FeedForward ffn;  ///< dense, or the shared experts; unused without either
  Linear gate;
  std::size_t bias = 0;  ///< e_score_correction_bias
  bool is_moe = false;
  bool has_ffn = true;

  Weights(const std::shared_ptr<const ModelConstants>& constants, std::int64_t id,
          const std::string& prefix, ParameterSet& parameters)
      : layer(id),
        set(&parameters),
        attention_norm(constants, prefix + "input_layernorm.weight", parameters),
        mla(constants, prefix + "self_attn.", parameters),
        ffn_norm(constants, prefix + "post_attention_layernorm.weight", parameters),
        is_moe(constants->config.is_moe(id)) {
    const ModelConfig& config = constants->config;
    if (!is_moe) {
      ffn = FeedForward(parameters, prefix + "mlp.", config.hidden_size, config.intermediate_size);
      return;
    }
    gate = Linear(parameters, parameters.add(prefix + "mlp.gate.weight", ParameterKind::kMatrix,
                                             Shape{config.n_routed_experts, config.hidden_size},
                                             ComputeCopy::kMaster));
    bias = parameters.add(prefix + "mlp.gate.e_score_correction_bias", ParameterKind::kGateBias,
                          Shape{config.n_routed_experts});
    has_ffn = config.n_shared_experts > 0;
    if (has_ffn)
      ffn = FeedForward(parameters, prefix + "mlp.shared_experts.", config.hidden_size,
                        config.shared_intermediate_size());
  }
  [[nodiscard]] std::span<float> gate_bias() const {
    return set->all()[bias].master.values<float>();
  }
};

struct DecoderLayer::Saved {
  std::int64_t sequences = 0;
  Norm::Saved attention_norm, ffn_norm;
  Mla::Saved mla;
  FeedForward::Saved ffn;
  Tensor hidden;    ///< until combine_forward or dense_forward
  Tensor normed;    ///< what feed-forward and gate read; MoE: until backward_weights
  Routing routing;  ///< until combine_backward
  Tensor dlogits;   ///< of the gate, fp32 [T, E]
};

void DecoderLayer::SavedDeleter::operator()(Saved* saved) const { delete saved; }
DecoderLayer::SavedPtr DecoderLayer::make_saved() { return SavedPtr(new Saved); }

DecoderLayer::DecoderLayer(std::shared_ptr<const ModelConstants> constants, std::int64_t layer,
                           ParameterSet& set)
    : constants_(std::move(constants)),
      weights_(std::make_unique<Weights>(constants_, layer, fmt::format("model.layers.{}.", layer),
                                         set)) {}
DecoderLayer::~DecoderLayer() = default;
DecoderLayer::DecoderLayer(DecoderLayer&&) noexcept = default;

bool DecoderLayer::is_moe() const { return weights_->is_moe; }
std::int64_t DecoderLayer::layer() const { return weights_->layer; }

// ---- forward

Routing DecoderLayer::choose_experts(const kernels::ComputeContext& context, const Tensor& normed) {
  const ModelConfig& config = constants_->config;
  const std::int64_t tokens = normed.shape().rows();
  const std::int64_t experts = config.n_routed_experts, top_k = config.num_experts_per_tok;
  const Tensor logits = context.make(DType::kF32, Shape{tokens, experts});
  weights_->gate.forward(context, widened(context, normed).view(), logits.view());
  Routing routing{context.make(DType::kF32, Shape{tokens, experts}),
                  context.make(DType::kI32, Shape{tokens, top_k}),
                  context.make(DType::kF32, Shape{tokens, top_k})};
  kernels::gate(context, gate_desc(config), logits.view(), weights_->gate_bias(),
                routing.scores.view(), routing.experts.values<std::int32_t>(),
                routing.weights.values<float>());
  return routing;
}

DecoderLayer::Attended DecoderLayer::after_attention(const kernels::ComputeContext& context,
                                                     const Batch& batch, const Tensor& x,
                                                     Tensor attention, bool keep, Saved& saved) {
  add_to(context, x, attention);
  saved.sequences = batch.sequences;
  saved.hidden = std::move(attention);
  saved.normed = weights_->ffn_norm.forward(context, saved.hidden, keep, saved.ffn_norm);
  if (is_moe()) saved.routing = choose_experts(context, saved.normed);
  return {saved.hidden, saved.normed, saved.routing};
}

DecoderLayer::Attended DecoderLayer::attention_forward(const kernels::ComputeContext& context,
                                                       const Batch& batch, const Tensor& x,
                                                       bool keep, Saved& saved) {
  const Tensor normed = weights_->attention_norm.forward(context, x, keep, saved.attention_norm);
  Tensor attention = weights_->mla.forward(context, batch, normed, keep, saved.mla);
  return after_attention(context, batch, x, std::move(attention), keep, saved);
}

DecoderLayer::Attended DecoderLayer::attention_cached(const kernels::ComputeContext& context,
                                                      const Batch& batch, const Tensor& x,
                                                      LatentCache& cache, Saved& saved) {
  const Tensor normed = weights_->attention_norm.forward(context, x, false, saved.attention_norm);
  Tensor attention = weights_->mla.forward_cached(context, batch, normed, cache);
  return after_attention(context, batch, x, std::move(attention), false, saved);
}

Tensor DecoderLayer::dense_forward(const kernels::ComputeContext& context, bool keep,
                                   Saved& saved) {
  Tensor y = weights_->ffn.forward(context, saved.normed, keep, saved.ffn);
  add_to(context, saved.hidden, y);
  saved.hidden = saved.normed = {};
  return y;
}

Tensor DecoderLayer::shared_forward(const kernels::ComputeContext& context, bool keep,
                                    Saved& saved) {
  Tensor shared;
  if (weights_->has_ffn) shared = weights_->ffn.forward(context, saved.normed, keep, saved.ffn);
  if (!keep) saved.normed = {};
  return shared;
}

Tensor DecoderLayer::combine_forward(const kernels::ComputeContext& context, const Tensor& shared,
                                     std::span<const kernels::TreePartial* const> groups,
                                     Saved& saved) {
  Tensor y = context.make(saved.hidden.dtype(), saved.hidden.shape());
  kernels::tree_combine_root(context, groups, constants_->config.n_routed_experts,
                             saved.hidden.shape().rows(), y.view());
  if (!shared.empty()) add_to(context, shared, y);
  add_to(context, saved.hidden, y);
  saved.hidden = {};
  return y;
}

// ---- backward

Tensor DecoderLayer::dense_backward(const kernels::ComputeContext& context, const Tensor& dy,
                                    Saved& saved) {
  const Tensor dnormed = weights_->ffn.backward_input(context, dy, saved.ffn);
  return weights_->ffn_norm.backward_input(context, dnormed, saved.ffn_norm, dy);
}

Tensor DecoderLayer::shared_backward(const kernels::ComputeContext& context, const Tensor& dy,
                                     Saved& saved) {
  return weights_->has_ffn ? weights_->ffn.backward_input(context, dy, saved.ffn) : Tensor{};
}

void DecoderLayer::gate_backward(const kernels::ComputeContext& context,
                                 std::span<const ExpertGradients* const> groups,
                                 float balance_gradient, const Tensor& dnormed, Saved& saved) {
  const kernels::GateDesc desc = gate_desc(constants_->config);
  const Routing& routing = saved.routing;
  const Tensor dweights = context.make(DType::kF32, routing.weights.shape());
  const std::span<float> by_slot = dweights.values<float>();
  std::int64_t filled = 0;
  for (const ExpertGradients* group : groups) {
    const std::span<const float> of_row = group->weights.values<const float>();
    for (std::size_t row = 0; row < of_row.size(); ++row)
      by_slot[static_cast<std::size_t>(group->slots[row])] = of_row[row];
    filled += group->weights.shape().count();
  }
  SLUICE_CHECK_EQ(filled, dweights.shape().count());
  saved.dlogits = context.make(DType::kF32, routing.scores.shape());
  kernels::gate_backward(context, desc, routing.scores.view(),
                         routing.experts.values<const std::int32_t>(),
                         dweights.values<const float>(), saved.dlogits.view());
  if (balance_gradient != 0)
    (void)kernels::balance_loss(context, desc, saved.sequences, routing.scores.view(),
                                balance_gradient, saved.dlogits.view());
  saved.routing = {};
  if (dnormed.dtype() == DType::kF32) {
    weights_->gate.backward_input(context, saved.dlogits.view(), dnormed.view(), true);
    return;
  }
  const Tensor through_gate = context.make(dnormed.dtype(), dnormed.shape());
  weights_->gate.backward_input(context, saved.dlogits.view(), through_gate.view());
  add_to(context, through_gate, dnormed);
}

Tensor DecoderLayer::combine_backward(const kernels::ComputeContext& context, const Tensor& dy,
                                      const Tensor& dshared,
                                      std::span<const ExpertGradients* const> groups,
                                      float balance_gradient, Saved& saved) {
  std::vector<const kernels::TreePartial*> partials;
  for (const ExpertGradients* group : groups) partials.push_back(&group->input);
  const Tensor dnormed = context.make(dy.dtype(), dy.shape());
  kernels::tree_combine_root(context, partials, constants_->config.n_routed_experts,
                             dy.shape().rows(), dnormed.view());
  if (!dshared.empty()) add_to(context, dshared, dnormed);
  gate_backward(context, groups, balance_gradient, dnormed, saved);
  return weights_->ffn_norm.backward_input(context, dnormed, saved.ffn_norm, dy);
}

Tensor DecoderLayer::attention_backward(const kernels::ComputeContext& context, const Batch& batch,
                                        const Tensor& dhidden, Saved& saved) {
  const Tensor dnormed = weights_->mla.backward_input(context, batch, dhidden, saved.mla);
  return weights_->attention_norm.backward_input(context, dnormed, saved.attention_norm, dhidden);
}

void DecoderLayer::backward_weights(const kernels::ComputeContext& context, Saved& saved) {
  if (weights_->has_ffn) weights_->ffn.backward_weights(context, saved.ffn);
  if (is_moe())
    weights_->gate.backward_weight(context, saved.dlogits.view(),
                                   widened(context, saved.normed).view());
  weights_->ffn_norm.backward_weights(context, saved.ffn_norm);
  weights_->mla.backward_weights(context, saved.mla);
  weights_->attention_norm.backward_weights(context, saved.attention_norm);
  saved = {};
}

// ---- balance

double DecoderLayer::balance(const kernels::ComputeContext& context, const Batch& batch,
                             const Saved& saved) const {
  if (!is_moe()) return 0;
  return kernels::balance_loss(context, gate_desc(constants_->config), batch.sequences,
                               saved.routing.scores.view(), 0, {});
}

void DecoderLayer::count_loads(const Routing& routing, std::span<std::int64_t> loads) {
  for (const std::int32_t expert : routing.experts.values<const std::int32_t>())
    ++loads[static_cast<std::size_t>(expert)];
}

void DecoderLayer::update_bias(std::span<const std::int64_t> loads, float gamma) {
  const std::span<float> bias = weights_->gate_bias();
  SLUICE_CHECK_EQ(loads.size(), bias.size());
  std::int64_t total = 0;
  for (const std::int64_t load : loads) total += load;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const std::int64_t excess = loads[i] * static_cast<std::int64_t>(loads.size()) - total;
    if (excess != 0) bias[i] += excess < 0 ? gamma : -gamma;
  }
}

double DecoderLayer::max_violation(std::span<const std::int64_t> loads) {
  std::int64_t total = 0, largest = 0;
  for (const std::int64_t load : loads) {
    total += load;
    largest = std::max(largest, load);
  }
  if (total == 0) return 0;
  return static_cast<double>(largest) * static_cast<double>(loads.size()) /
             static_cast<double>(total) -
         1;
}

}  // namespace sluice::model
