// The backward pass of a micro-batch through a chunk: heads and losses, layers, and what goes on.
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
  bool weights_later;
  std::vector<float> dloss;  // by depth

  HeadResult operator()(const ComputeContext& context) const {
    HeadResult out;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Tensor targets =
          token_columns(context, tokens, static_cast<std::int64_t>(k) + 1, length);
      model::Head::Loss loss =
          head->loss(context, inputs[k], targets, gradient, dloss[k], weights_later);
      (k == 0 ? out.losses.main : out.losses.mtp.emplace_back()) = loss.sum;
      out.gradients.push_back(std::move(loss.dh));
    }
    return out;
  }
};

}  // namespace

Async<Done> Stage::evaluate_heads(Pass pass) {
  HeadTask task{&*head_,
                std::move(pass.live->heads),
                pass.live->tokens,
                pass.live->batch.length,
                false,
                false,
                {}};
  task.dloss.assign(task.inputs.size(), 0.0f);
  HeadResult result = co_await run(pass.task("head"), task);
  post(plan().sink, make_message(pass.key(Topic::kLoss), std::move(result.losses)));
  co_return Done{};
}

Async<Tensor> Stage::receive_gradient(Pass pass) {
  const Key key = pass.key(Topic::kGradient, pass.chunk->layer_last - 1);
  Message message = co_await receive(key);
  co_return std::move(std::get<Hidden>(message.body).rows);
}

// Losses, and gradients of what the head reads. Its weights' are added on the way, while logits are
// there, if all earlier micro-batches come before this one in the program; else later.
Async<std::vector<Tensor>> Stage::head_gradients(Pass pass) {
  const bool weights_later = pass.weights_later || !pass.chunk->weights_in_order;
  Live& live = *pass.live;
  HeadTask task{&*head_,
                live.heads,
                live.tokens,
                live.batch.length,
                true,
                weights_later,
                row_gradients(pass.start)};
  if (!weights_later) {
    live.heads.clear();
    co_await head_sum_->turn(pass.micro_batch);
  }
  const char* name = weights_later ? "head input gradient" : "head";
  HeadResult result = co_await run(
      pass.task(name),
      [&](const ComputeContext& c) {
        HeadResult out = task(c);
        if (!weights_later) head_sum_->added(c, pass.micro_batch);
        return out;
      },
      [&] {
        return HeadResult{{}, stand_in(pass).rows_of_depths(mtp_depth() + 1)};
      });
  if (!weights_later) {
    head_sum_->pass(*this);
    live.weights_done.release(*this);
  } else if (!pass.weights_later) {
    head_weights(pass);
  }
  post(plan().sink, make_message(pass.key(Topic::kLoss), std::move(result.losses)));
  co_return std::move(result.gradients);
}

Async<Tensor> Stage::backward_heads(Pass pass) {
  Live& live = *pass.live;
  std::vector<Tensor> gradients = co_await head_gradients(pass);
  Tensor dh;  // what depth k + 1 sends back to depth k
  std::vector<Tensor> dembeddings(mtp_.size());
  for (std::int32_t depth = mtp_depth(); depth >= 1; --depth) {
    const auto k = static_cast<std::size_t>(depth);
    const Tensor own = std::move(gradients[k]);
    const Tensor later = std::move(dh);
    Tensor joined = co_await run(
        pass.task("mtp gradient"),
        [&](const ComputeContext& c) { return later.empty() ? own : model::sum(c, own, later); },
        [&] { return stand_in(pass).rows(); });
    dh = co_await backward_mtp(pass, depth, std::move(joined));
    dembeddings[k - 1] = std::move(live.mtp[k - 1].dembedding);
  }
  if (!mtp_.empty()) {
    Message out =
        make_message(pass.key(Topic::kEmbeddingGradient), EmbeddingRows{std::move(dembeddings)});
    co_await send_in_turn(pass, pass.chunk->rows_gradient, std::move(out));
  }
  const Tensor own = std::move(gradients[0]);
  const Tensor later = std::move(dh);
  model::Norm* norm = &*norm_;
  model::Norm::Saved* saved = &live.norm;
  Tensor dx = co_await run(
      pass.task("norm gradient"),
      [&](const ComputeContext& c) {
        return norm->backward_input(c, later.empty() ? own : model::sum(c, own, later), *saved);
      },
      [&] { return stand_in(pass).rows(); });
  if (!pass.weights_later) norm_weights(pass);
  co_return dx;
}

// One depth of multi-token prediction: gradient of its output -> gradient of the previous depth's
// output.
Async<Tensor> Stage::backward_mtp(Pass pass, std::int32_t depth, Tensor dh) {
  const auto k = static_cast<std::size_t>(depth) - 1;
  const std::int32_t index = mtp_layer(depth);
  model::MtpModule* module = &mtp_[k];
  MtpSaved* saved = &pass.live->mtp[k];
  Tensor dz = co_await run(
      pass.task("mtp output gradient", index),
      [&](const ComputeContext& c) { return module->output_backward(c, dh, saved->module); },
      [&] { return stand_in(pass).rows(); });
  dh = {};
  dz = co_await backward_layer(pass, index, std::move(dz));
  model::MtpModule::InputGradients gradients = co_await run(
      pass.task("mtp input gradient", index),
      [&](const ComputeContext& c) { return module->input_backward(c, dz, saved->module); },
      [&] {
        return model::MtpModule::InputGradients{stand_in(pass).rows(), stand_in(pass).rows()};
      });
  saved->dembedding = std::move(gradients.embedding);
  if (!pass.weights_later) layer_weights(pass, index);
  co_return std::move(gradients.h);
}

Async<Tensor> Stage::backward_layer(Pass pass, std::int32_t index, Tensor dy) {
  DecoderLayer* layer = this->layer(index).layer;
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  const model::Batch batch = pass.live->batch;
  Tensor dhidden;
  if (layer->is_moe()) {
    dhidden = co_await route_backward(pass, index, std::move(dy));
  } else {
    dhidden = co_await run(
        pass.task("dense gradient", index),
        [&](const ComputeContext& c) { return layer->dense_backward(c, dy, *saved); },
        [&] { return stand_in(pass).rows(); });
    dy = {};
  }
  Tensor dx = co_await run(
      pass.task("attention gradient", index),
      [&](const ComputeContext& c) { return layer->attention_backward(c, batch, dhidden, *saved); },
      [&] { return stand_in(pass).rows(); });
  co_return dx;
}

// The gradient goes to the expert groups; the shared experts' runs while it travels.
Async<Tensor> Stage::route_backward(Pass pass, std::int32_t index, Tensor dy) {
  DecoderLayer* layer = this->layer(index).layer;
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  for (const ActorIndex group : stage_.expert_groups) {
    Message message = make_message(
        pass.key(Topic::kDispatchGradient, index),
        DispatchGradient{dy, pass.priority, pass.weights_priority, pass.weights_later});
    co_await send(channel(group, ChannelRole::kDispatch), message);
  }
  Tensor dshared = co_await run(
      pass.task("shared experts gradient", index),
      [&](const ComputeContext& c) { return layer->shared_backward(c, dy, *saved); },
      [&] { return stand_in(pass).rows(); });
  std::vector<model::ExpertGradients> answers;
  for (std::size_t e = 0; e < stage_.expert_groups.size(); ++e) {
    const Key key = pass.key(Topic::kCombineGradient, index, static_cast<std::int32_t>(e));
    Message message = co_await receive(key);
    answers.push_back(std::move(std::get<CombineGradient>(message.body).gradients));
  }
  const auto balance =
      static_cast<float>(config().loss.balance_alpha / static_cast<double>(sequences(pass.start)));
  Tensor dhidden = co_await run(
      pass.task("combine gradient", index),
      [&](const ComputeContext& c) {
        std::vector<const model::ExpertGradients*> groups;
        for (const model::ExpertGradients& answer : answers) groups.push_back(&answer);
        return layer->combine_backward(c, dy, dshared, groups, balance, *saved);
      },
      [&] { return stand_in(pass).rows(); });
  co_return dhidden;
}

// To the stage before; at the first stage the gradients of embedding rows come together.
Async<Done> Stage::leave_backward(Pass pass, Tensor dx) {
  if (!pass.chunk->is_first) {
    Message out = make_message(pass.key(Topic::kGradient, pass.chunk->layer_first - 1),
                               Hidden{std::move(dx), 0});
    co_await send_in_turn(pass, pass.chunk->to_previous, std::move(out));
    co_return Done{};
  }
  std::vector<Tensor>& gradients = pass.live->embedding_rows;
  gradients.assign(1, std::move(dx));
  if (config().constants->config.num_nextn_predict_layers > 0) {
    const Key key = pass.key(Topic::kEmbeddingGradient);
    Message message = co_await receive(key);
    for (Tensor& depth : std::get<EmbeddingRows>(message.body).depths)
      gradients.push_back(std::move(depth));
  }
  if (!pass.weights_later) embedding_weights(pass);
  co_return Done{};
}

}  // namespace sluice::actors
