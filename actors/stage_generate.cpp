// Generation: one sequence over latent caches, the prompt first, then a token at a time.
#include "actors/stage.hpp"

namespace sluice::actors {

using kernels::ComputeContext;
using model::DecoderLayer;

// Along the first route: the prompt, then a token at a time, until a message without tokens.
Flow Stage::run_generation(StepStart start) {
  caches_.clear();
  for (const auto& [index, layer] : layers_) {
    if (index < config().constants->config.num_hidden_layers) {
      caches_.emplace(index, model::make_latent_cache(*config().constants, options_.positions_max));
    }
  }
  bool end = false;
  for (std::int32_t i = 0; !end; ++i) {
    for (const graph::ChunkPlan& chunk : stage_.chunks) {
      if (chunk.route != 0) continue;
      Pass pass;
      pass.start = start;
      pass.chunk = &chunk;
      pass.micro_batch = i;
      pass.live = &live_[{chunk.stage, i}];
      const Key key = chunk.is_first ? pass.key(Topic::kTokens)
                                     : pass.key(Topic::kActivation, chunk.layer_first);
      Message message = co_await receive(key);
      end = co_await generate_position(pass, std::move(message));
      live_.erase({chunk.stage, i});
    }
  }
  caches_.clear();
  co_await finish_step(start);
}

// True for the message that ends a generation.
Async<bool> Stage::generate_position(Pass pass, Message message) {
  Tensor x;
  std::int32_t first_position = 0;
  if (pass.chunk->is_first) {
    const Tokens in = std::get<Tokens>(message.body);
    first_position = in.first_position;
    model::Embedding* embedding = &*embedding_;
    if (!in.tokens.empty()) {
      const model::StandIns like{*config().constants, in.tokens.shape().count()};
      x = co_await run(
          pass.task("embedding"),
          [&](const ComputeContext& c) {
            return embedding->forward(c, in.tokens.reshaped(Shape{in.tokens.shape().count()}));
          },
          [&] { return like.rows(); });
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
    for (std::int32_t l = pass.chunk->layer_first; l < pass.chunk->layer_last; ++l) {
      x = co_await forward_layer(pass, l, std::move(x));
    }
  }
  if (!pass.chunk->is_last) {
    Message out = make_message(pass.key(Topic::kActivation, pass.chunk->layer_last),
                               Hidden{std::move(x), first_position});
    co_await send(pass.chunk->to_next, out);
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
