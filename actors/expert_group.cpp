// Dispatched tokens in, weighted sums out; and the same for gradients.
#include "actors/expert_group.hpp"

#include "actors/model_layers.hpp"

namespace sluice::actors {

using kernels::ComputeContext;

ExpertGroup::ExpertGroup(const Config& config, const graph::ExpertGroupPlan& group)
    : Owner(config), group_(group) {
  const graph::StagePlan& stage = plan().stages[static_cast<std::size_t>(group.pipeline_rank)];
  combine_ = channel(stage.actor, graph::ChannelRole::kCombine);
  for (const std::int32_t index : moe_layers_of(stage, config.constants->config)) {
    layers_.emplace(index, Layer{model::ExpertBlock(config.constants, index, group.expert_first,
                                                    group.expert_count, parameters_),
                                 {}});
  }
}

void ExpertGroup::on_step(StepStart start) { step(start); }

void ExpertGroup::on_arrival(const Key& key) {
  if (key.topic == Topic::kDispatch) forward(key);
  if (key.topic == Topic::kDispatchGradient) backward(key);
}

Flow ExpertGroup::step(StepStart start) {
  if (start.mode == StepMode::kTrain || start.mode == StepMode::kGradient) {
    const auto expected = static_cast<std::int32_t>(layers_.size()) * start.micro_batches;
    for (std::int32_t i = 0; i < expected; ++i) co_await finished_.acquire(*this);
    for (auto& [index, layer] : layers_) layer.weights.reset();
  }
  co_await finish_step(start);
}

Flow ExpertGroup::forward(Key key) {
  Message message = co_await receive(key);
  Dispatch in = std::move(std::get<Dispatch>(message.body));
  model::ExpertBlock* block = &layer(key.layer).block;
  model::ExpertBlock::SavedPtr saved = model::ExpertBlock::make_saved();
  model::ExpertBlock::Saved* kept = saved.get();
  const TaskSpec spec{.name = "experts", .key = key};
  Combine out = co_await run(spec, [&](const ComputeContext& c) {
    return Combine{block->forward(c, in.normed, in.routing, in.keep, *kept)};
  });
  if (in.keep) kept_.emplace(Place{key.layer, key.micro_batch}, std::move(saved));
  in = {};
  const Key answer{key.step, key.micro_batch, key.layer, Topic::kCombine, group_.expert_rank};
  Message reply = make_message(answer, std::move(out));
  co_await send(combine_, reply);
}

Flow ExpertGroup::backward(Key key) {
  Message message = co_await receive(key);
  DispatchGradient in = std::move(std::get<DispatchGradient>(message.body));
  Layer* here = &layer(key.layer);
  const auto found = kept_.find(Place{key.layer, key.micro_batch});
  SLUICE_CHECK(found != kept_.end(), "experts {}: gradient of a micro-batch that was not seen",
               self());
  const model::ExpertBlock::SavedPtr saved = std::move(found->second);
  kept_.erase(found);
  model::ExpertBlock::Saved* kept = saved.get();
  const TaskSpec input_task{.name = "experts input gradient", .key = key};
  CombineGradient out = co_await run(input_task, [&](const ComputeContext& c) {
    return CombineGradient{here->block.backward_input(c, in.dy, *kept)};
  });
  in = {};
  const Key answer{key.step, key.micro_batch, key.layer, Topic::kCombineGradient,
                   group_.expert_rank};
  Message reply = make_message(answer, std::move(out));
  co_await send(combine_, reply);

  co_await here->weights.turn(key.micro_batch);
  const TaskSpec weight_task{.name = "experts weight gradient", .key = key};
  co_await run(weight_task,
               [&](const ComputeContext& c) { here->block.backward_weights(c, *kept); });
  here->weights.pass(*this);
  finished_.release(*this);
}

}  // namespace sluice::actors
