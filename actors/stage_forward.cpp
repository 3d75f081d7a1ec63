// The forward pass of a micro-batch through a stage: enter, layers with their dispatch and combine,
// leave.
#include "actors/stage.hpp"
#include "actors/token_columns.hpp"

namespace sluice::actors {

using graph::ChannelRole;
using kernels::ComputeContext;
using model::DecoderLayer;

Async<Tensor> Stage::enter(Pass pass) {
  if (!pass.chunk->is_first) {
    const Key key = pass.key(Topic::kActivation, pass.chunk->layer_first);
    Message message = co_await receive(key);
    co_return std::move(std::get<Hidden>(message.body).rows);
  }
  const Key key = pass.key(Topic::kTokens);
  Message message = co_await receive(key);
  const Tensor tokens = std::get<Tokens>(message.body).tokens;
  const std::int64_t length = pass.live->batch.length;
  pass.live->tokens = tokens;
  model::Embedding* embedding = &*embedding_;
  Tensor x = co_await run(
      pass.task("embedding"),
      [&](const ComputeContext& c) {
        return embedding->forward(c, token_columns(c, tokens, 0, length));
      },
      [&] { return stand_in(pass).rows(); });
  if (pass.chunk->rows_to_last != kNoActor) {
    std::vector<Tensor> rows = co_await embedding_rows(pass);
    Message out = make_message(pass.key(Topic::kEmbedding), EmbeddingRows{std::move(rows)});
    co_await send_in_turn(pass, pass.chunk->rows_to_last, std::move(out));
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
  std::vector<Tensor> rows = co_await run(
      pass.task("embedding"),
      [&](const ComputeContext& c) {
        std::vector<Tensor> out;
        for (std::int32_t k = 1; k <= depths; ++k) {
          out.push_back(embedding->forward(c, token_columns(c, tokens, k, length)));
        }
        return out;
      },
      [&] { return stand_in(pass).rows_of_depths(depths); });
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
  DecoderLayer::Attended attended = co_await run(
      pass.task("attention", index),
      [&](const ComputeContext& c) {
        return cache == nullptr ? layer->attention_forward(c, batch, x, keep, *saved)
                                : layer->attention_cached(c, batch, x, *cache, *saved);
      },
      [&] { return stand_in(pass).attended(layer->is_moe()); });
  x = {};
  Tensor y;
  if (layer->is_moe()) {
    y = co_await route_forward(pass, index, std::move(attended));
  } else {
    attended = {};
    y = co_await run(
        pass.task("dense", index),
        [&](const ComputeContext& c) { return layer->dense_forward(c, keep, *saved); },
        [&] { return stand_in(pass).rows(); });
  }
  if (!keep) pass.live->layers.erase(index);
  if (options_.observe && index < config().constants->config.num_hidden_layers)
    observe(pass, fmt::format("hidden.{}", index + 1), y);
  co_return y;
}

// Tokens go to the expert groups; the shared experts run while they travel; what comes back is
// summed along the tree.
Async<Tensor> Stage::route_forward(Pass pass, std::int32_t index, DecoderLayer::Attended attended) {
  DecoderLayer* layer = this->layer(index).layer;
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  for (const ActorIndex group : stage_.expert_groups) {
    Message message =
        make_message(pass.key(Topic::kDispatch, index),
                     Dispatch{attended.normed, attended.routing, pass.keep, pass.priority});
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
  Shared shared = co_await run(
      pass.task("shared experts", index),
      [&](const ComputeContext& c) {
        Shared out{layer->shared_forward(c, keep, *saved), 0, {}};
        if (generating) return out;
        out.loads.assign(experts, 0);
        DecoderLayer::count_loads(routing, out.loads);
        out.balance = layer->balance(c, batch, *saved);
        return out;
      },
      [&] {
        return Shared{stand_in(pass).rows(), 0, stand_in(pass).loads()};
      });
  if (!generating) report_balance(pass, index, shared.balance, shared.loads);
  std::vector<kernels::TreePartial> sums;
  for (std::size_t e = 0; e < stage_.expert_groups.size(); ++e) {
    const Key key = pass.key(Topic::kCombine, index, static_cast<std::int32_t>(e));
    Message message = co_await receive(key);
    sums.push_back(std::move(std::get<Combine>(message.body).sums));
  }
  const Tensor shared_rows = std::move(shared.rows);
  Tensor y = co_await run(
      pass.task("combine", index),
      [&](const ComputeContext& c) {
        std::vector<const kernels::TreePartial*> groups;
        for (const kernels::TreePartial& sum : sums) groups.push_back(&sum);
        return layer->combine_forward(c, shared_rows, groups, *saved);
      },
      [&] { return stand_in(pass).rows(); });
  co_return y;
}

Async<Done> Stage::leave(Pass pass, Tensor x) {
  if (!pass.chunk->is_last) {
    Message out =
        make_message(pass.key(Topic::kActivation, pass.chunk->layer_last), Hidden{std::move(x), 0});
    co_await send_in_turn(pass, pass.chunk->to_next, std::move(out));
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
  Tensor h = co_await run(
      pass.task("norm"),
      [&](const ComputeContext& c) { return norm->forward(c, x, keep, *norm_saved); },
      [&] { return stand_in(pass).rows(); });
  x = {};
  live.heads.assign(1, h);
  live.mtp.resize(mtp_.size());
  std::vector<Tensor> embeddings;
  if (!mtp_.empty() && embedding_) {
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
    const std::int32_t index = mtp_layer(static_cast<std::int32_t>(k) + 1);
    Tensor z = co_await run(
        pass.task("mtp input", index),
        [&](const ComputeContext& c) {
          return module->input_forward(c, h, embedding, keep, *saved);
        },
        [&] { return stand_in(pass).rows(); });
    Tensor y = co_await forward_layer(pass, index, std::move(z));
    h = co_await run(
        pass.task("mtp output", index),
        [&](const ComputeContext& c) { return module->output_forward(c, y, keep, *saved); },
        [&] { return stand_in(pass).rows(); });
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

}  // namespace sluice::actors
