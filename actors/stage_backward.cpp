// The backward pass of a micro-batch through a stage: heads and losses, layers, embedding.
#include "actors/stage.hpp"
#include "actors/token_columns.hpp"

namespace sluice::actors {

using graph::ChannelRole;
using kernels::ComputeContext;
using model::DecoderLayer;

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
  Tensor dz = co_await run(pass.task("mtp output gradient", index), [&](const ComputeContext& c) {
    return module->output_backward(c, dh, saved->module);
  });
  dh = {};
  dz = co_await backward_layer(pass, index, std::move(dz));
  model::MtpModule::InputGradients gradients = co_await run(
      pass.task("mtp input gradient", index),
      [&](const ComputeContext& c) { return module->input_backward(c, dz, saved->module); });
  saved->dembedding = std::move(gradients.embedding);
  co_await mtp_turns_[k].turn(pass.micro_batch);
  co_await run(pass.task("mtp weight gradient", index),
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
    dhidden = co_await run(pass.task("dense gradient", index), [&](const ComputeContext& c) {
      return layer->dense_backward(c, dy, *saved);
    });
    dy = {};
  }
  Tensor dx = co_await run(pass.task("attention gradient", index), [&](const ComputeContext& c) {
    return layer->attention_backward(c, batch, dhidden, *saved);
  });
  dhidden = {};
  co_await here->weights.turn(pass.micro_batch);
  co_await run(pass.task("weight gradient", index),
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
  Tensor dshared =
      co_await run(pass.task("shared experts gradient", index),
                   [&](const ComputeContext& c) { return layer->shared_backward(c, dy, *saved); });
  std::vector<model::ExpertGradients> answers;
  for (std::size_t e = 0; e < stage_.expert_groups.size(); ++e) {
    const Key key = pass.key(Topic::kCombineGradient, index, static_cast<std::int32_t>(e));
    Message message = co_await receive(key);
    answers.push_back(std::move(std::get<CombineGradient>(message.body).gradients));
  }
  const auto balance =
      static_cast<float>(config().loss.balance_alpha / static_cast<double>(sequences(pass.start)));
  Tensor dhidden = co_await run(pass.task("combine gradient", index), [&](const ComputeContext& c) {
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

}  // namespace sluice::actors
