// Weight gradients of a micro-batch: flows that wait for their turn, each over one sum.
#include "actors/stage.hpp"
#include "actors/token_columns.hpp"

namespace sluice::actors {

using kernels::ComputeContext;
using model::DecoderLayer;

// Of an MTP depth's layer, also what else belongs to the depth. Expert groups that were told to
// wait are told to go on.
Flow Stage::layer_weights(Pass pass, std::int32_t index) {
  Layer* here = &layer(index);
  if (pass.weights_go && here->layer->is_moe()) {
    for (const ActorIndex group : stage_.expert_groups) {
      Message go = make_message(pass.key(Topic::kDispatchWeights, index),
                                DispatchWeights{pass.weights_priority});
      co_await send(channel(group, graph::ChannelRole::kDispatch), go);
    }
  }
  co_await here->gradients.turn(pass.micro_batch);
  DecoderLayer::Saved* saved = pass.live->layers.at(index).get();
  const auto depth =
      static_cast<std::size_t>(index - std::min(index, mtp_layer(1)));  // of an MTP depth, from 0
  co_await run(pass.weights_task("weight gradient", index), [&](const ComputeContext& c) {
    here->layer->backward_weights(c, *saved);
    if (here->mtp != nullptr) here->mtp->backward_weights(c, pass.live->mtp[depth].module);
    here->gradients.added(c, pass.micro_batch);
  });
  here->gradients.pass(*this);
  pass.live->layers.erase(index);
  pass.live->weights_done.release(*this);
}

Flow Stage::head_weights(Pass pass) {
  co_await head_sum_->turn(pass.micro_batch);
  const std::vector<Tensor> inputs = std::move(pass.live->heads);
  const std::vector<float> dloss = row_gradients(pass.start);
  const Tensor tokens = pass.live->tokens;
  const std::int64_t length = pass.live->batch.length;
  co_await run(pass.weights_task("head weight gradient"), [&](const ComputeContext& c) {
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Tensor targets = token_columns(c, tokens, static_cast<std::int64_t>(k) + 1, length);
      head_->backward_weights(c, inputs[k], targets, dloss[k]);
    }
    head_sum_->added(c, pass.micro_batch);
  });
  head_sum_->pass(*this);
  pass.live->weights_done.release(*this);
}

Flow Stage::norm_weights(Pass pass) {
  co_await norm_sum_->turn(pass.micro_batch);
  co_await run(pass.weights_task("norm weight gradient"), [&](const ComputeContext& c) {
    norm_->backward_weights(c, pass.live->norm);
    norm_sum_->added(c, pass.micro_batch);
  });
  norm_sum_->pass(*this);
  pass.live->weights_done.release(*this);
}

// Row by row: of the chunk's input, then of what each depth read.
Flow Stage::embedding_weights(Pass pass) {
  co_await embedding_sum_->turn(pass.micro_batch);
  const std::vector<Tensor> gradients = std::move(pass.live->embedding_rows);
  const Tensor tokens = pass.live->tokens;
  const std::int64_t length = pass.live->batch.length;
  co_await run(pass.weights_task("embedding gradient"), [&](const ComputeContext& c) {
    for (std::size_t k = 0; k < gradients.size(); ++k) {
      embedding_->backward(c, token_columns(c, tokens, static_cast<std::int64_t>(k), length),
                           gradients[k]);
    }
    embedding_sum_->added(c, pass.micro_batch);
  });
  embedding_sum_->pass(*this);
  pass.live->weights_done.release(*this);
}

std::int32_t Stage::weight_flows(const graph::ChunkPlan& chunk) const {
  constexpr std::int32_t kHeadAndNorm = 2;
  return chunk.layer_last - chunk.layer_first + (chunk.is_first ? 1 : 0) +
         (chunk.is_last ? kHeadAndNorm + mtp_depth() : 0);
}

Async<Done> Stage::finish_weights(Pass pass) {
  for (std::int32_t i = 0; i < weight_flows(*pass.chunk); ++i)
    co_await pass.live->weights_done.acquire(*this);
  live_.erase({pass.chunk->stage, pass.micro_batch});
  activations_.release(*this);
  co_return Done{};
}

}  // namespace sluice::actors
