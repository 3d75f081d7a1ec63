// How a micro-batch goes through a stage. Forward reads top to bottom in forward_pass, backward in
// backward_pass.
#include "actors/stage.hpp"

#include "actors/model_layers.hpp"
#include "kernels/base/check.hpp"

namespace sluice::actors {

using graph::ChannelRole;
using kernels::ComputeContext;
using model::DecoderLayer;

namespace {

// Columns [first, first + length) of tokens [B, W] as [B · length].
Tensor token_columns(const ComputeContext& context, const Tensor& tokens, std::int64_t first,
                     std::int64_t length) {
  const auto all = tokens.matrix<std::int32_t>();
  Tensor out = context.make(DType::kI32, Shape{all.rows * length});
  std::int32_t* to = out.values<std::int32_t>().data();
  for (std::int64_t b = 0; b < all.rows; ++b)
    std::copy_n(all.row(b) + first, length, to + b * length);
  return out;
}

}  // namespace

// ---- Construction
// --------------------------------------------------------------------------------------------------

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

// ---- Programs
// ------------------------------------------------------------------------------------------------------

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
      training ? stage_.program : graph::schedule_forward({1, start.micro_batches}).front();
  const std::int32_t window = 1 + plan().options.run_ahead;
  slots_.reset(window);
  activations_.reset(stage_.activation_credits);
  for (std::size_t i = 0; i < program.size(); ++i) {
    co_await slots_.acquire(*this);
    Pass pass{start, program[i].micro_batch, static_cast<std::int32_t>(i), training, nullptr};
    if (program[i].kind == graph::PassKind::kBackward) {
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
    co_await send(channel(previous, ChannelRole::kGradient), out);
  }
  live_.erase(pass.micro_batch);
  activations_.release(*this);
  slots_.release(*this);
}

// ---- Forward
// -------------------------------------------------------------------------------------------------------

Async<Tensor> Stage::enter(Pass pass) {
  if (!stage_.is_first) {
    const Key key = pass.key(Topic::kActivation);
    Message message = co_await receive(key);
    co_return std::move(std::get<Hidden>(message.body).rows);
  }
  const Key key = pass.key(Topic::kTokens);
  Message message = co_await receive(key);
  const Tensor tokens = std::get<Tokens>(message.body).tokens;
  const std::int64_t length = pass.live->batch.length;
  pass.live->tokens = tokens;
  model::Embedding* embedding = &*embedding_;
  Tensor x = co_await run(pass.task("embedding"), [&](const ComputeContext& c) {
    return embedding->forward(c, token_columns(c, tokens, 0, length));
  });
  const ActorIndex last = plan().stages.back().actor;
  const auto depths =
      static_cast<std::int32_t>(config().constants->config.num_nextn_predict_layers);
  if (depths > 0 && last != self()) {
    std::vector<Tensor> rows = co_await embedding_rows(pass);
    Message out = make_message(pass.key(Topic::kEmbedding), EmbeddingRows{std::move(rows)});
    co_await send(channel(last, ChannelRole::kEmbedding), out);
  }
  if (options_.observe) observe(pass, "hidden.0", x);
  co_return x;
}

// What multi-token prediction reads: rows of tokens i + k, k = 1 .. D.
Async<std::vector<Tensor>> Stage::embedding_rows(Pass pass) {
  const auto depths =
      static_cast<std::int32_t>(config().constants->config.num_nextn_predict_layers);
  const Tensor tokens = pass.live->tokens;
  const std::int64_t length = pass.live->batch.length;
  model::Embedding* embedding = &*embedding_;
  std::vector<Tensor> rows = co_await run(pass.task("embedding"), [&](const ComputeContext& c) {
    std::vector<Tensor> out;
    for (std::int32_t k = 1; k <= depths; ++k) {
      out.push_back(embedding->forward(c, token_columns(c, tokens, k, length)));
    }
    return out;
  });
  co_return rows;
}

Async<Tensor> Stage::forward_layer(Pass pass, std::int32_t index, Tensor x) {
  DecoderLayer* layer = this->layer(index).layer;
  DecoderLayer::SavedPtr& slot = pass.live->layers[index];
  slot = DecoderLayer::make_saved();
  DecoderLayer::Saved* saved = slot.get();
  const model::Batch batch = pass.live->batch;
  const bool keep = pass.keep;
  model::LatentCache* cache = pass.start.mode == StepMode::kGenerate ? &caches_.at(index) : nullptr;
  DecoderLayer::Attended attended =
      co_await run(pass.task("attention"), [&](const ComputeContext& c) {
        return cache == nullptr ? layer->attention_forward(c, batch, x, keep, *saved)
                                : layer->attention_cached(c, batch, x, *cache, *saved);
      });
  x = {};
  Tensor y;
  if (layer->is_moe()) {
    y = co_await route_forward(pass, index, std::move(attended));
  } else {
    attended = {};
    y = co_await run(pass.task("dense"), [&](const ComputeContext& c) {
      return layer->dense_forward(c, keep, *saved);
    });
  }
  if (!keep) pass.live->layers.erase(index);
  if (options_.observe && index < stage_.layer_last)
    observe(pass, fmt::format("hidden.{}", index + 1), y);
  co_return y;
}

// Tokens go to the expert groups; the shared experts run while they travel; what comes back is
// summed along the tree.
Async<Tensor> Stage::route_forward(Pass pass, std::int32_t index, DecoderLayer::Attended attended) {
  DecoderLayer* layer = this->layer(index).layer;
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  for (const ActorIndex group : stage_.expert_groups) {
    Message message = make_message(pass.key(Topic::kDispatch, index),
                                   Dispatch{attended.normed, attended.routing, pass.keep});
    co_await send(channel(group, ChannelRole::kDispatch), message);
  }
  const model::Batch batch = pass.live->batch;
  const model::Routing routing = std::move(attended.routing);
  attended = {};
  if (options_.observe) {
    observe(pass, fmt::format("gate.{}.scores", index), routing.scores);
    observe(pass, fmt::format("gate.{}.experts", index), routing.experts);
  }
  const bool keep = pass.keep;
  const bool generating = pass.start.mode == StepMode::kGenerate;
  const auto experts = static_cast<std::size_t>(config().constants->config.n_routed_experts);
  struct Shared {
    Tensor rows;
    double balance = 0;
    std::vector<std::int64_t> loads;
  };
  Shared shared = co_await run(pass.task("shared experts"), [&](const ComputeContext& c) {
    Shared out{layer->shared_forward(c, keep, *saved), 0, {}};
    if (generating) return out;
    out.loads.assign(experts, 0);
    DecoderLayer::count_loads(routing, out.loads);
    out.balance = layer->balance(c, batch, *saved);
    return out;
  });
  if (!generating) report_balance(pass, index, shared.balance, shared.loads);
  std::vector<kernels::TreePartial> sums;
  for (std::size_t e = 0; e < stage_.expert_groups.size(); ++e) {
    const Key key = pass.key(Topic::kCombine, index, static_cast<std::int32_t>(e));
    Message message = co_await receive(key);
    sums.push_back(std::move(std::get<Combine>(message.body).sums));
  }
  const Tensor shared_rows = std::move(shared.rows);
  Tensor y = co_await run(pass.task("combine"), [&](const ComputeContext& c) {
    std::vector<const kernels::TreePartial*> groups;
    for (const kernels::TreePartial& sum : sums) groups.push_back(&sum);
    return layer->combine_forward(c, shared_rows, groups, *saved);
  });
  co_return y;
}

Async<Done> Stage::leave(Pass pass, Tensor x) {
  if (!stage_.is_last) {
    const ActorIndex next = plan().stages[static_cast<std::size_t>(stage_.pipeline_rank) + 1].actor;
    Message out = make_message(pass.key(Topic::kActivation), Hidden{std::move(x), 0});
    co_await send(channel(next, ChannelRole::kActivation), out);
    co_return Done{};
  }
  const Key key = pass.key(Topic::kTargets);
  Message message = co_await receive(key);
  pass.live->tokens = std::get<Tokens>(message.body).tokens;
  co_await forward_heads(pass, std::move(x));
  if (!pass.keep) co_await evaluate_heads(pass);
  co_return Done{};
}

// Final norm and the depths of multi-token prediction; the head itself waits for the backward pass.
Async<Done> Stage::forward_heads(Pass pass, Tensor x) {
  Live& live = *pass.live;
  model::Norm* norm = &*norm_;
  model::Norm::Saved* norm_saved = &live.norm;
  const bool keep = pass.keep;
  Tensor h = co_await run(pass.task("norm"), [&](const ComputeContext& c) {
    return norm->forward(c, x, keep, *norm_saved);
  });
  x = {};
  live.heads.assign(1, h);
  live.mtp.resize(mtp_.size());
  std::vector<Tensor> embeddings;
  if (!mtp_.empty() && stage_.is_first) {
    embeddings = co_await embedding_rows(pass);
  } else if (!mtp_.empty()) {
    const Key key = pass.key(Topic::kEmbedding);
    Message message = co_await receive(key);
    embeddings = std::move(std::get<EmbeddingRows>(message.body).depths);
  }
  for (std::size_t k = 0; k < mtp_.size(); ++k) {
    model::MtpModule* module = &mtp_[k];
    model::MtpModule::Saved* saved = &live.mtp[k].module;
    const Tensor embedding = std::move(embeddings[k]);
    const auto index = static_cast<std::int32_t>(config().constants->config.num_hidden_layers +
                                                 static_cast<std::int64_t>(k));
    Tensor z = co_await run(pass.task("mtp input"), [&](const ComputeContext& c) {
      return module->input_forward(c, h, embedding, keep, *saved);
    });
    Tensor y = co_await forward_layer(pass, index, std::move(z));
    h = co_await run(pass.task("mtp output"), [&](const ComputeContext& c) {
      return module->output_forward(c, y, keep, *saved);
    });
    live.heads.push_back(h);
  }
  if (options_.observe) {
    model::Head* head = &*head_;
    for (std::size_t k = 0; k < live.heads.size(); ++k) {
      const Tensor rows = live.heads[k];
      Tensor logits = co_await run(pass.task("logits"),
                                   [&](const ComputeContext& c) { return head->logits(c, rows); });
      observe(pass, k == 0 ? "logits" : fmt::format("mtp_logits.{}", k), std::move(logits));
    }
  }
  co_return Done{};
}

namespace {

// The head over all depths, in depth order: losses, and with dloss the gradients of what the head
// reads.
struct HeadResult {
  LossPart losses;
  std::vector<Tensor> gradients;
};
struct HeadTask {
  model::Head* head;
  std::vector<Tensor> inputs;
  Tensor tokens;
  std::int64_t length;
  bool gradient;
  std::vector<float> dloss;  // by depth

  HeadResult operator()(const ComputeContext& context) const {
    HeadResult out;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Tensor targets =
          token_columns(context, tokens, static_cast<std::int64_t>(k) + 1, length);
      model::Head::Loss loss = head->loss(context, inputs[k], targets, gradient, dloss[k]);
      (k == 0 ? out.losses.main : out.losses.mtp.emplace_back()) = loss.sum;
      out.gradients.push_back(std::move(loss.dh));
    }
    return out;
  }
};

}  // namespace

Async<Done> Stage::evaluate_heads(Pass pass) {
  HeadTask task{
      &*head_, std::move(pass.live->heads), pass.live->tokens, pass.live->batch.length, false, {}};
  task.dloss.assign(task.inputs.size(), 0.0f);
  HeadResult result = co_await run(pass.task("head"), task);
  post(plan().sink, make_message(pass.key(Topic::kLoss), std::move(result.losses)));
  co_return Done{};
}

// ---- Backward
// ------------------------------------------------------------------------------------------------------

Async<Tensor> Stage::backward_heads(Pass pass) {
  Live& live = *pass.live;
  co_await head_turn_.turn(pass.micro_batch);
  const float row = row_gradient(pass.start);
  const float depth_row =
      mtp_.empty()
          ? 0.0f
          : static_cast<float>(config().loss.mtp_lambda / static_cast<double>(mtp_depth())) * row;
  HeadTask task{&*head_, std::move(live.heads), live.tokens, live.batch.length, true, {}};
  task.dloss.assign(task.inputs.size(), depth_row);
  task.dloss[0] = row;
  HeadResult result = co_await run(pass.task("head"), task);
  head_turn_.pass(*this);
  post(plan().sink, make_message(pass.key(Topic::kLoss), std::move(result.losses)));

  Tensor dh;  // what depth k + 1 sends back to depth k
  std::vector<Tensor> dembeddings(mtp_.size());
  for (std::int32_t depth = mtp_depth(); depth >= 1; --depth) {
    const Tensor own = std::move(result.gradients[static_cast<std::size_t>(depth)]);
    const Tensor later = std::move(dh);
    Tensor joined = co_await run(pass.task("mtp gradient"), [&](const ComputeContext& c) {
      return later.empty() ? own : model::sum(c, own, later);
    });
    dh = co_await backward_mtp(pass, depth, std::move(joined));
    dembeddings[static_cast<std::size_t>(depth) - 1] =
        std::move(live.mtp[static_cast<std::size_t>(depth) - 1].dembedding);
  }
  if (!mtp_.empty() && !stage_.is_first) {
    Message out =
        make_message(pass.key(Topic::kEmbeddingGradient), EmbeddingRows{std::move(dembeddings)});
    co_await send(channel(plan().stages.front().actor, ChannelRole::kEmbeddingGradient), out);
  } else {
    live.dembeddings = std::move(dembeddings);
  }

  const Tensor own = std::move(result.gradients[0]);
  const Tensor later = std::move(dh);
  model::Norm* norm = &*norm_;
  model::Norm::Saved* saved = &live.norm;
  Tensor dx = co_await run(pass.task("norm gradient"), [&](const ComputeContext& c) {
    return norm->backward_input(c, later.empty() ? own : model::sum(c, own, later), *saved);
  });
  co_await norm_turn_.turn(pass.micro_batch);
  co_await run(pass.task("norm weight gradient"),
               [&](const ComputeContext& c) { norm->backward_weights(c, *saved); });
  norm_turn_.pass(*this);
  co_return dx;
}

// One depth of multi-token prediction: gradient of its output -> gradient of the previous depth's
// output.
Async<Tensor> Stage::backward_mtp(Pass pass, std::int32_t depth, Tensor dh) {
  const auto k = static_cast<std::size_t>(depth) - 1;
  const auto index =
      static_cast<std::int32_t>(config().constants->config.num_hidden_layers) + depth - 1;
  model::MtpModule* module = &mtp_[k];
  MtpSaved* saved = &pass.live->mtp[k];
  Tensor dz = co_await run(pass.task("mtp output gradient"), [&](const ComputeContext& c) {
    return module->output_backward(c, dh, saved->module);
  });
  dh = {};
  dz = co_await backward_layer(pass, index, std::move(dz));
  model::MtpModule::InputGradients gradients = co_await run(
      pass.task("mtp input gradient"),
      [&](const ComputeContext& c) { return module->input_backward(c, dz, saved->module); });
  saved->dembedding = std::move(gradients.embedding);
  co_await mtp_turns_[k].turn(pass.micro_batch);
  co_await run(pass.task("mtp weight gradient"),
               [&](const ComputeContext& c) { module->backward_weights(c, saved->module); });
  mtp_turns_[k].pass(*this);
  co_return std::move(gradients.h);
}

Async<Tensor> Stage::backward_layer(Pass pass, std::int32_t index, Tensor dy) {
  Layer* here = &layer(index);
  DecoderLayer* layer = here->layer;
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  const model::Batch batch = pass.live->batch;
  Tensor dhidden;
  if (layer->is_moe()) {
    dhidden = co_await route_backward(pass, index, std::move(dy));
  } else {
    dhidden = co_await run(pass.task("dense gradient"), [&](const ComputeContext& c) {
      return layer->dense_backward(c, dy, *saved);
    });
    dy = {};
  }
  Tensor dx = co_await run(pass.task("attention gradient"), [&](const ComputeContext& c) {
    return layer->attention_backward(c, batch, dhidden, *saved);
  });
  dhidden = {};
  co_await here->weights.turn(pass.micro_batch);
  co_await run(pass.task("weight gradient"),
               [&](const ComputeContext& c) { layer->backward_weights(c, *saved); });
  here->weights.pass(*this);
  pass.live->layers.erase(index);
  co_return dx;
}

// The gradient goes to the expert groups; the shared experts' runs while it travels.
Async<Tensor> Stage::route_backward(Pass pass, std::int32_t index, Tensor dy) {
  DecoderLayer* layer = this->layer(index).layer;
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  for (const ActorIndex group : stage_.expert_groups) {
    Message message = make_message(pass.key(Topic::kDispatchGradient, index), DispatchGradient{dy});
    co_await send(channel(group, ChannelRole::kDispatch), message);
  }
  Tensor dshared = co_await run(pass.task("shared experts gradient"), [&](const ComputeContext& c) {
    return layer->shared_backward(c, dy, *saved);
  });
  std::vector<model::ExpertGradients> answers;
  for (std::size_t e = 0; e < stage_.expert_groups.size(); ++e) {
    const Key key = pass.key(Topic::kCombineGradient, index, static_cast<std::int32_t>(e));
    Message message = co_await receive(key);
    answers.push_back(std::move(std::get<CombineGradient>(message.body).gradients));
  }
  const auto balance =
      static_cast<float>(config().loss.balance_alpha / static_cast<double>(sequences(pass.start)));
  Tensor dhidden = co_await run(pass.task("combine gradient"), [&](const ComputeContext& c) {
    std::vector<const model::ExpertGradients*> groups;
    for (const model::ExpertGradients& answer : answers) groups.push_back(&answer);
    return layer->combine_backward(c, dy, dshared, groups, balance, *saved);
  });
  co_return dhidden;
}

Async<Done> Stage::backward_embedding(Pass pass, Tensor dx) {
  std::vector<Tensor> gradients = std::move(pass.live->dembeddings);
  const auto depths = config().constants->config.num_nextn_predict_layers;
  if (depths > 0 && !stage_.is_last) {
    const Key key = pass.key(Topic::kEmbeddingGradient);
    Message message = co_await receive(key);
    gradients = std::move(std::get<EmbeddingRows>(message.body).depths);
  }
  gradients.insert(gradients.begin(), std::move(dx));
  const Tensor tokens = pass.live->tokens;
  const std::int64_t length = pass.live->batch.length;
  model::Embedding* embedding = &*embedding_;
  co_await embedding_turn_.turn(pass.micro_batch);
  co_await run(pass.task("embedding gradient"), [&](const ComputeContext& c) {
    for (std::size_t k = 0; k < gradients.size(); ++k) {
      embedding->backward(c, token_columns(c, tokens, static_cast<std::int64_t>(k), length),
                          gradients[k]);
    }
  });
  embedding_turn_.pass(*this);
  co_return Done{};
}

// ---- Balance, observation
// ------------------------------------------------------------------------------------------

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

// ---- Generation
// ----------------------------------------------------------------------------------------------------

// One sequence over latent caches: the prompt, then a token at a time, until a message without
// tokens.
Flow Stage::run_generation(StepStart start) {
  caches_.clear();
  for (const auto& [index, layer] : layers_) {
    if (index < config().constants->config.num_hidden_layers) {
      caches_.emplace(index, model::make_latent_cache(*config().constants, options_.positions_max));
    }
  }
  for (std::int32_t i = 0;; ++i) {
    Pass pass{start, i, 0, false, &live_[i]};
    const Key key = pass.key(stage_.is_first ? Topic::kTokens : Topic::kActivation);
    Message message = co_await receive(key);
    const bool last_one = co_await generate_position(pass, std::move(message));
    live_.erase(i);
    if (last_one) break;
  }
  caches_.clear();
  co_await finish_step(start);
}

// True for the message that ends a generation.
Async<bool> Stage::generate_position(Pass pass, Message message) {
  Tensor x;
  std::int32_t first_position = 0;
  if (stage_.is_first) {
    const Tokens in = std::get<Tokens>(message.body);
    first_position = in.first_position;
    model::Embedding* embedding = &*embedding_;
    if (!in.tokens.empty()) {
      x = co_await run(pass.task("embedding"), [&](const ComputeContext& c) {
        return embedding->forward(c, in.tokens.reshaped(Shape{in.tokens.shape().count()}));
      });
    }
  } else {
    Hidden in = std::move(std::get<Hidden>(message.body));
    first_position = in.first_position;
    x = std::move(in.rows);
  }
  message = {};
  const bool end = x.empty();
  if (!end) {
    pass.live->batch = model::make_batch(1, x.shape().rows());
    for (std::int32_t& position : pass.live->batch.positions.values<std::int32_t>())
      position += first_position;
    for (std::int32_t l = stage_.layer_first; l < stage_.layer_last; ++l) {
      x = co_await forward_layer(pass, l, std::move(x));
    }
  }
  if (!stage_.is_last) {
    const ActorIndex next = plan().stages[static_cast<std::size_t>(stage_.pipeline_rank) + 1].actor;
    Message out = make_message(pass.key(Topic::kActivation), Hidden{std::move(x), first_position});
    co_await send(channel(next, ChannelRole::kActivation), out);
  } else if (!end) {
    model::Norm* norm = &*norm_;
    model::Head* head = &*head_;
    const auto newest = static_cast<std::int32_t>(x.shape().rows()) - 1;
    Tensor row = co_await run(pass.task("logits"), [&](const ComputeContext& c) {
      model::Norm::Saved unused;
      return head->logits(c, norm->forward(c, x.slice(newest, 1), false, unused));
    });
    post(plan().sink,
         make_message(pass.key(Topic::kLogits), Logits{std::move(row), first_position + newest}));
  }
  co_return end;
}

}  // namespace sluice::actors
