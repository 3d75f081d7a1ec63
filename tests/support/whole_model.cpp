// A whole model put together from its layers.
#include "tests/support/whole_model.hpp"

#include <algorithm>
#include <cmath>

#include "graph/model/optimizer.hpp"
#include "kernels/optimizer/adamw.hpp"
#include "kernels/sample/sample.hpp"

namespace sluice::test {

using model::Batch;
using model::DecoderLayer;
using model::ExpertBlock;
using model::ExpertGradients;
using model::Parameter;
using model::ParameterKind;
using model::ParameterSet;
using model::ParameterUse;

struct WholeModel::LayerState {
  DecoderLayer::SavedPtr saved = DecoderLayer::make_saved();
  std::vector<ExpertBlock::SavedPtr> experts;
  model::Routing routing;
  double balance = 0;
};

/// `shifted[k]`: tokens of position i + k, for k = 0 .. D+1.
struct WholeModel::MicroBatch {
  Batch batch;
  std::vector<Tensor> shifted;
  std::map<std::int64_t, LayerState> layers;
  std::vector<model::MtpModule::Saved> mtp;
  model::Norm::Saved norm;
  std::vector<Tensor> heads;  ///< what the head reads: main, then each depth
  std::vector<Tensor> dheads;
};

struct WholeModel::Cache {
  std::vector<model::LatentCache> layers;
  std::int64_t length = 0;
};

namespace {

/// Columns [shift, shift + length) of rows [first, first + count) of tokens, flattened.
Tensor shifted_tokens(const Tensor& tokens, std::int64_t first, std::int64_t count,
                      std::int64_t shift, std::int64_t length) {
  Tensor out = Tensor::zeros(DType::kI32, Shape{count * length});
  const auto from = tokens.matrix<std::int32_t>();
  for (std::int64_t s = 0; s < count; ++s)
    std::copy_n(from.row(first + s) + shift, length,
                out.values<std::int32_t>().begin() + s * length);
  return out;
}

/// `group` of `groups`: its first expert (its end, for group + 1).
std::int64_t first_expert(std::int64_t experts, std::int64_t groups, std::int64_t group) {
  return experts * group / groups;
}

}  // namespace

WholeModel::WholeModel(const model::ModelConfig& config, model::Recipe recipe,
                       const kernels::ComputeContext& context, std::int64_t expert_groups,
                       std::int64_t positions)
    : context_(context),
      constants_(model::make_constants(config, recipe,
                                       positions > 0 ? positions : config.max_position_embeddings)),
      set_(std::make_unique<ParameterSet>(recipe, ParameterUse::kTraining)) {
  embedding_ = std::make_unique<model::Embedding>(constants_, *set_);
  for (std::int64_t id = 0; id < config.num_hidden_layers; ++id)
    layers_.emplace_back(constants_, id, *set_);
  norm_ = std::make_unique<model::Norm>(constants_, "model.norm.weight", *set_);
  head_ = std::make_unique<model::Head>(constants_, *set_);
  for (std::int64_t depth = 1; depth <= config.num_nextn_predict_layers; ++depth)
    mtp_.emplace_back(constants_, depth, *set_);
  for (std::int64_t group = 0; group < expert_groups; ++group) {
    expert_sets_.push_back(std::make_unique<ParameterSet>(recipe, ParameterUse::kTraining));
    const std::int64_t first = first_expert(config.n_routed_experts, expert_groups, group);
    const std::int64_t end = first_expert(config.n_routed_experts, expert_groups, group + 1);
    for (std::int64_t id = 0; id < config.layer_count(); ++id) {
      if (config.is_moe(id))
        experts_[id].emplace_back(constants_, id, first, end - first, *expert_sets_.back());
    }
  }
}

std::map<std::string, Parameter*> WholeModel::parameters() {
  std::map<std::string, Parameter*> named;
  for (Parameter& parameter : set_->all()) named[parameter.name] = &parameter;
  for (const auto& set : expert_sets_)
    for (Parameter& parameter : set->all()) named[parameter.name] = &parameter;
  return named;
}

void WholeModel::initialize(std::uint64_t seed) {
  set_->initialize(config(), seed);
  for (const auto& set : expert_sets_) set->initialize(config(), seed);
  refresh();
}

void WholeModel::refresh() {
  set_->refresh_compute(context_);
  for (const auto& set : expert_sets_) set->refresh_compute(context_);
}

DecoderLayer& WholeModel::layer(std::int64_t id) {
  const auto main = static_cast<std::int64_t>(layers_.size());
  return id < main ? layers_[static_cast<std::size_t>(id)]
                   : mtp_[static_cast<std::size_t>(id - main)].layer();
}

Tensor WholeModel::layer_forward(const Batch& batch, const Tensor& x, bool keep, std::int64_t id,
                                 LayerState& state, model::LatentCache* cache) {
  DecoderLayer& block = layer(id);
  const DecoderLayer::Attended attended =
      cache != nullptr ? block.attention_cached(context_, batch, x, *cache, *state.saved)
                       : block.attention_forward(context_, batch, x, keep, *state.saved);
  if (!block.is_moe()) return block.dense_forward(context_, keep, *state.saved);
  state.routing = attended.routing;
  if (cache == nullptr) state.balance = block.balance(context_, batch, *state.saved);
  std::vector<kernels::TreePartial> partials;
  for (ExpertBlock& experts : experts_[id]) {
    state.experts.push_back(ExpertBlock::make_saved());
    partials.push_back(
        experts.forward(context_, attended.normed, attended.routing, keep, *state.experts.back()));
  }
  std::vector<const kernels::TreePartial*> groups;
  for (const kernels::TreePartial& partial : partials) groups.push_back(&partial);
  const Tensor shared = block.shared_forward(context_, keep, *state.saved);
  return block.combine_forward(context_, shared, groups, *state.saved);
}

Tensor WholeModel::layer_backward(const Batch& batch, const Tensor& dy, std::int64_t id,
                                  float balance_gradient, LayerState& state) {
  DecoderLayer& block = layer(id);
  Tensor dhidden;
  if (!block.is_moe()) {
    dhidden = block.dense_backward(context_, dy, *state.saved);
  } else {
    std::vector<ExpertGradients> answers;
    for (std::size_t group = 0; group < state.experts.size(); ++group)
      answers.push_back(experts_[id][group].backward_input(context_, dy, *state.experts[group]));
    std::vector<const ExpertGradients*> groups;
    for (const ExpertGradients& answer : answers) groups.push_back(&answer);
    const Tensor dshared = block.shared_backward(context_, dy, *state.saved);
    dhidden = block.combine_backward(context_, dy, dshared, groups, balance_gradient, *state.saved);
  }
  Tensor dx = block.attention_backward(context_, batch, dhidden, *state.saved);
  block.backward_weights(context_, *state.saved);
  for (std::size_t group = 0; group < state.experts.size(); ++group)
    experts_[id][group].backward_weights(context_, *state.experts[group]);
  return dx;
}

void WholeModel::micro_forward(MicroBatch& m, bool keep, Outputs* outputs) {
  Tensor x = embedding_->forward(context_, m.shifted[0]);
  if (outputs != nullptr) outputs->hidden.push_back(x);
  for (std::int64_t id = 0; id < config().num_hidden_layers; ++id) {
    x = layer_forward(m.batch, x, keep, id, m.layers[id], nullptr);
    if (outputs != nullptr) outputs->hidden.push_back(x);
  }
  Tensor h = norm_->forward(context_, x, keep, m.norm);
  m.heads.push_back(h);
  m.mtp.resize(mtp_.size());
  for (std::size_t k = 0; k < mtp_.size(); ++k) {
    const std::int64_t id = mtp_[k].layer().layer();
    const Tensor z = mtp_[k].input_forward(
        context_, h, embedding_->forward(context_, m.shifted[k + 1]), keep, m.mtp[k]);
    const Tensor y = layer_forward(m.batch, z, keep, id, m.layers[id], nullptr);
    h = mtp_[k].output_forward(context_, y, keep, m.mtp[k]);
    m.heads.push_back(h);
  }
}

Outputs WholeModel::forward(const Tensor& tokens) {
  const std::int64_t sequences = tokens.shape()[0];
  const std::int64_t length = tokens.shape()[1] - 1 - config().num_nextn_predict_layers;
  MicroBatch m;
  m.batch = model::make_batch(sequences, length);
  for (std::int64_t k = 0; k <= config().num_nextn_predict_layers; ++k)
    m.shifted.push_back(shifted_tokens(tokens, 0, sequences, k, length));
  Outputs outputs;
  micro_forward(m, false, &outputs);
  outputs.logits = head_->logits(context_, m.heads[0]);
  for (std::size_t k = 1; k < m.heads.size(); ++k)
    outputs.mtp_logits.push_back(head_->logits(context_, m.heads[k]));
  for (const auto& [id, state] : m.layers)
    if (layer(id).is_moe()) outputs.gates[id] = state.routing;
  return outputs;
}

void WholeModel::micro_backward(MicroBatch& m, float balance_gradient, Losses& losses) {
  const auto depths = static_cast<std::int64_t>(mtp_.size());
  Tensor dh;  // of what depth k's output feeds besides the head
  for (std::int64_t k = depths; k >= 1; --k) {
    model::MtpModule& module = mtp_[static_cast<std::size_t>(k - 1)];
    model::MtpModule::Saved& saved = m.mtp[static_cast<std::size_t>(k - 1)];
    Tensor dhead = m.dheads[static_cast<std::size_t>(k)];
    if (!dh.empty()) dhead = model::sum(context_, dhead, dh);
    const Tensor dy = module.output_backward(context_, dhead, saved);
    const std::int64_t id = module.layer().layer();
    const Tensor dz = layer_backward(m.batch, dy, id, balance_gradient, m.layers[id]);
    const model::MtpModule::InputGradients d = module.input_backward(context_, dz, saved);
    module.backward_weights(context_, saved);
    embedding_->backward(context_, m.shifted[static_cast<std::size_t>(k)], d.embedding);
    dh = d.h;
  }
  if (!dh.empty()) m.dheads[0] = model::sum(context_, m.dheads[0], dh);
  Tensor dx = norm_->backward_input(context_, m.dheads[0], m.norm);
  norm_->backward_weights(context_, m.norm);
  for (std::int64_t id = config().num_hidden_layers - 1; id >= 0; --id)
    dx = layer_backward(m.batch, dx, id, balance_gradient, m.layers[id]);
  embedding_->backward(context_, m.shifted[0], dx);
  for (auto& [id, state] : m.layers) {
    if (!layer(id).is_moe()) continue;
    losses.balance += state.balance;
    auto& loads = loads_[id];
    loads.resize(static_cast<std::size_t>(config().n_routed_experts));
    DecoderLayer::count_loads(state.routing, loads);
  }
}

Losses WholeModel::forward_backward(const Tensor& tokens, const Hyperparameters& hyper,
                                    std::int64_t micro_batch) {
  const std::int64_t sequences = tokens.shape()[0], depths = config().num_nextn_predict_layers;
  const std::int64_t length = tokens.shape()[1] - 1 - depths;
  const auto rows = static_cast<double>(sequences * length);
  const auto balance_gradient =
      static_cast<float>(hyper.balance_alpha / static_cast<double>(sequences));
  Losses losses;
  losses.mtp.resize(mtp_.size());
  for (std::int64_t first = 0; first < sequences; first += micro_batch) {
    MicroBatch m;
    m.batch = model::make_batch(micro_batch, length);
    for (std::int64_t k = 0; k <= depths + 1; ++k)
      m.shifted.push_back(shifted_tokens(tokens, first, micro_batch, k, length));
    micro_forward(m, true, nullptr);
    for (std::size_t k = 0; k < m.heads.size(); ++k) {
      const double weight = k == 0 ? 1.0 : hyper.mtp_lambda / static_cast<double>(depths);
      model::Head::Loss loss = head_->loss(context_, m.heads[k], m.shifted[k + 1], true,
                                           static_cast<float>(weight / rows));
      (k == 0 ? losses.main : losses.mtp[k - 1]) += loss.sum / rows;
      m.dheads.push_back(loss.dh);
    }
    micro_backward(m, balance_gradient, losses);
  }
  losses.balance /= static_cast<double>(sequences);
  losses.total = losses.main + hyper.balance_alpha * losses.balance;
  for (const double loss : losses.mtp)
    losses.total += hyper.mtp_lambda / static_cast<double>(depths) * loss;
  return losses;
}

void WholeModel::optimize(const Hyperparameters& hyper, double gradient_norm) {
  model::AdamW adamw{.learning_rate = hyper.learning_rate, .weight_decay = hyper.weight_decay};
  adamw.gradient_scale = static_cast<float>(
      std::min(1.0, static_cast<double>(hyper.clip_norm) / (gradient_norm + 1e-6)));
  adamw.update(context_, *set_);
  for (const auto& set : expert_sets_) adamw.update(context_, *set);
}

StepResult WholeModel::train_step(const Tensor& tokens, const Hyperparameters& hyper,
                                  std::int64_t micro_batch) {
  set_->clear_gradients(context_);
  for (const auto& set : expert_sets_) set->clear_gradients(context_);
  loads_.clear();
  StepResult result;
  result.losses = forward_backward(tokens, hyper, micro_batch);
  double squares = 0;
  for (const auto& [name, p] : parameters())
    if (!p->gradient.empty())
      squares += kernels::sum_of_squares(context_, p->gradient.values<float>());
  result.gradient_norm = std::sqrt(squares);
  optimize(hyper, result.gradient_norm);
  for (const auto& [id, loads] : loads_) {
    layer(id).update_bias(loads, hyper.bias_gamma);
    result.max_violation[id] = DecoderLayer::max_violation(loads);
  }
  return result;
}

Tensor WholeModel::decode(const std::vector<std::int32_t>& tokens, Cache& cache) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  Batch batch = model::make_batch(1, count);
  for (std::int32_t& position : batch.positions.values<std::int32_t>())
    position += static_cast<std::int32_t>(cache.length);
  Tensor x = embedding_->forward(context_, Tensor::from<std::int32_t>(tokens, Shape{count}));
  for (std::int64_t id = 0; id < config().num_hidden_layers; ++id) {
    LayerState state;
    x = layer_forward(batch, x, false, id, state, &cache.layers[static_cast<std::size_t>(id)]);
  }
  cache.length += count;
  model::Norm::Saved none;
  return head_->logits(context_, norm_->forward(context_, x, false, none)).slice(count - 1, 1);
}

Tensor WholeModel::cached_logits(const std::vector<std::int32_t>& tokens, std::int64_t prefill) {
  Cache cache;
  for (std::int64_t id = 0; id < config().num_hidden_layers; ++id)
    cache.layers.push_back(
        model::make_latent_cache(*constants_, static_cast<std::int64_t>(tokens.size())));
  Tensor logits = decode({tokens.begin(), tokens.begin() + prefill}, cache);
  for (auto token = tokens.begin() + prefill; token != tokens.end(); ++token)
    logits = decode({*token}, cache);
  return logits;
}

std::vector<std::int32_t> WholeModel::generate(const std::vector<std::int32_t>& prompt,
                                               std::int64_t count) {
  Cache cache;
  for (std::int64_t id = 0; id < config().num_hidden_layers; ++id)
    cache.layers.push_back(
        model::make_latent_cache(*constants_, static_cast<std::int64_t>(prompt.size()) + count));
  std::vector<std::int32_t> text = prompt;
  Tensor logits = decode(prompt, cache);
  for (std::int64_t i = 0; i < count; ++i) {
    text.push_back(kernels::argmax(logits.values<const float>()));
    if (i + 1 < count) logits = decode({text.back()}, cache);
  }
  return text;
}

}  // namespace sluice::test
