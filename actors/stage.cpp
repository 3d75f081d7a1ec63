// A stage's programs: which passes are under way. What a pass does is in stage_forward.cpp,
// stage_backward.cpp and stage_generate.cpp.
#include "actors/stage.hpp"

#include "actors/model_layers.hpp"
#include "kernels/base/check.hpp"

namespace sluice::actors {

Stage::Stage(const Config& config, const graph::StagePlan& stage, Options options)
    : Owner(config), stage_(stage), options_(options) {
  const model::ModelConfig& model = config.constants->config;
  batch_ = model::make_batch(plan().options.micro_batch_size, plan().options.sequence_length);
  if (stage_.is_first) embedding_.emplace(config.constants, parameters_);
  main_layers_.reserve(static_cast<std::size_t>(stage_.layer_last - stage_.layer_first));
  for (std::int32_t l = stage_.layer_first; l < stage_.layer_last; ++l) {
    main_layers_.emplace_back(config.constants, l, parameters_);
    layers_.emplace(l, Layer{&main_layers_.back(), {}, {}});
  }
  if (stage_.is_last) {
    norm_.emplace(config.constants, "model.norm.weight", parameters_);
    head_.emplace(config.constants, parameters_);
    mtp_.reserve(static_cast<std::size_t>(model.num_nextn_predict_layers));
    for (std::int64_t depth = 1; depth <= model.num_nextn_predict_layers; ++depth) {
      mtp_.emplace_back(config.constants, depth, parameters_);
      const auto l = static_cast<std::int32_t>(model.num_hidden_layers + depth - 1);
      layers_.emplace(l, Layer{&mtp_.back().layer(), {}, {}});
    }
  }
  mtp_turns_.resize(mtp_.size());
  for (auto& [index, layer] : layers_) {
    if (layer.layer->is_moe())
      layer.loads.assign(static_cast<std::size_t>(model.n_routed_experts), 0);
  }
}

float Stage::row_gradient(const StepStart& start) const {
  return static_cast<float>(1.0 /
                            static_cast<double>(sequences(start) * plan().options.sequence_length));
}

void Stage::on_step(StepStart start) {
  if (start.mode == StepMode::kGenerate) {
    run_generation(start);
  } else {
    run_program(start);
  }
}

Flow Stage::run_program(StepStart start) {
  const bool training = start.mode != StepMode::kEvaluate;
  const graph::Program program =
      training ? stage_.program : graph::forward_program(start.micro_batches);
  const std::int32_t window = 1 + plan().options.run_ahead;
  slots_.reset(window);
  activations_.reset(stage_.activation_credits);
  for (std::size_t i = 0; i < program.size(); ++i) {
    co_await slots_.acquire(*this);
    const graph::Pass& planned = program[i].passes().front();
    Pass pass{start, planned.micro_batch, static_cast<std::int32_t>(i), training, nullptr};
    if (planned.kind == graph::PassKind::kBackward) {
      backward_pass(pass);
      continue;
    }
    if (training) co_await activations_.acquire(*this);
    forward_pass(pass);
  }
  for (std::int32_t i = 0; i < window; ++i) co_await slots_.acquire(*this);
  for (auto& [index, layer] : layers_) layer.weights.reset();
  head_turn_.reset();
  norm_turn_.reset();
  embedding_turn_.reset();
  for (Turnstile& turn : mtp_turns_) turn.reset();
  co_await finish_step(start);
}

Flow Stage::forward_pass(Pass pass) {
  pass.live = &live_[pass.micro_batch];
  pass.live->batch =
      model::make_batch(plan().options.micro_batch_size, plan().options.sequence_length);
  Tensor x = co_await enter(pass);
  for (std::int32_t l = stage_.layer_first; l < stage_.layer_last; ++l) {
    x = co_await forward_layer(pass, l, std::move(x));
  }
  co_await leave(pass, std::move(x));
  pass.live->forward_done.release(*this);
  if (!pass.keep) live_.erase(pass.micro_batch);
  slots_.release(*this);
}

Flow Stage::backward_pass(Pass pass) {
  const auto found = live_.find(pass.micro_batch);
  SLUICE_CHECK(found != live_.end(), "stage {}: backward of micro-batch {} before its forward",
               self(), pass.micro_batch);
  pass.live = &found->second;
  co_await pass.live->forward_done.acquire(
      *this);  // it may still be under way when this pass runs ahead
  Tensor dx;
  if (stage_.is_last) {
    dx = co_await backward_heads(pass);
  } else {
    const Key key = pass.key(Topic::kGradient);
    Message message = co_await receive(key);
    dx = std::move(std::get<Hidden>(message.body).rows);
  }
  for (std::int32_t l = stage_.layer_last - 1; l >= stage_.layer_first; --l) {
    dx = co_await backward_layer(pass, l, std::move(dx));
  }
  if (stage_.is_first) {
    co_await backward_embedding(pass, std::move(dx));
  } else {
    const ActorIndex previous =
        plan().stages[static_cast<std::size_t>(stage_.pipeline_rank) - 1].actor;
    Message out = make_message(pass.key(Topic::kGradient), Hidden{std::move(dx), 0});
    co_await send(channel(previous, graph::ChannelRole::kGradient), out);
  }
  live_.erase(pass.micro_batch);
  activations_.release(*this);
  slots_.release(*this);
}

void Stage::report_balance(const Pass& pass, std::int32_t index, double balance,
                           const std::vector<std::int64_t>& loads) {
  Layer& here = layer(index);
  if (pass.start.mode == StepMode::kTrain) {
    for (std::size_t i = 0; i < loads.size(); ++i) here.loads[i] += loads[i];
  }
  post(plan().sink, make_message(pass.key(Topic::kBalance, index), BalancePart{balance, loads}));
}

void Stage::after_update() {
  for (auto& [index, layer] : layers_) {
    if (!layer.layer->is_moe()) continue;
    layer.layer->update_bias(layer.loads, static_cast<float>(config().loss.bias_gamma));
    std::fill(layer.loads.begin(), layer.loads.end(), 0);
  }
}

void Stage::observe(const Pass& pass, std::string name, Tensor tensor) {
  if (pass.start.mode == StepMode::kTrain) return;
  Key key = pass.key(Topic::kControl);
  post(plan().supervisor, make_message(key, Observed{std::move(name), std::move(tensor)}));
}

}  // namespace sluice::actors
