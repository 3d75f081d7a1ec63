// Dispatched tokens in, weighted sums out; and the same for gradients.
#include "actors/expert_group.hpp"

#include "actors/model_layers.hpp"
#include "graph/model/stand_ins.hpp"

namespace sluice::actors {

using kernels::ComputeContext;

ExpertGroup::ExpertGroup(const Config& config, const graph::ExpertGroupPlan& group)
    : Owner(config), group_(group) {
  const graph::StagePlan& stage = plan().stages[static_cast<std::size_t>(group.pipeline_rank)];
  combine_ = channel(stage.actor, graph::ChannelRole::kCombine);
  for (const graph::ChunkPlan& chunk : stage.chunks) {
    for (const std::int32_t index : moe_layers_of(chunk, config.constants->config)) {
      const std::size_t first = parameters_.all().size();
      model::ExpertBlock block(config.constants, index, group.expert_first, group.expert_count,
                               parameters_);
      layers_.emplace(index,
                      Layer{std::move(block), Sum(parameters_, plan(), chunk, index, first)});
      weights_expected_ += chunk.micro_batches;
    }
  }
}

std::vector<Owner::Sum*> ExpertGroup::sums() {
  std::vector<Sum*> out;
  for (auto& [index, layer] : layers_) out.push_back(&layer.gradients);
  return out;
}

// Of each parameter, how many holders' tokens reached it.
std::vector<std::int64_t> ExpertGroup::counts_of(const Sum& sum) {
  std::vector<std::int64_t> out;
  for (const model::Parameter& p : sum.parameters()) out.push_back(p.reached ? 1 : 0);
  return out;
}

void ExpertGroup::take_counts(const Sum& sum, std::span<const std::int64_t> counts) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) parameters_.mark_reached(sum.first_parameter() + i);
  }
}

ActorIndex ExpertGroup::peer(std::int32_t pipeline_rank) const {
  return plan()
      .stages[static_cast<std::size_t>(pipeline_rank)]
      .expert_groups[static_cast<std::size_t>(group_.expert_rank)];
}

void ExpertGroup::on_step(StepStart start) { step(start); }

void ExpertGroup::on_arrival(const Key& key) {
  if (key.topic == Topic::kDispatch) forward(key);
  if (key.topic == Topic::kDispatchGradient) backward(key);
}

Flow ExpertGroup::step(StepStart start) {
  if (start.mode == StepMode::kTrain || start.mode == StepMode::kGradient) {
    for (std::int32_t i = 0; i < weights_expected_; ++i) co_await finished_.acquire(*this);
  }
  co_await finish_step(start);
}

Flow ExpertGroup::forward(Key key) {
  Message message = co_await receive(key);
  Dispatch in = std::move(std::get<Dispatch>(message.body));
  model::ExpertBlock* block = &layer(key.layer).block;
  model::ExpertBlock::SavedPtr saved = model::ExpertBlock::make_saved();
  model::ExpertBlock::Saved* kept = saved.get();
  const TaskSpec spec{.name = "experts", .priority = in.priority, .key = key};
  const model::StandIns like{*config().constants, in.normed.shape().rows()};
  Combine out = co_await run(
      spec,
      [&](const ComputeContext& c) {
        return Combine{block->forward(c, in.normed, in.routing, in.keep, *kept)};
      },
      [&] { return Combine{like.expert_sums(group_.expert_count)}; });
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
  const TaskSpec input_task{.name = "experts input gradient", .priority = in.priority, .key = key};
  const model::StandIns like{*config().constants, in.dy.shape().rows()};
  CombineGradient out = co_await run(
      input_task,
      [&](const ComputeContext& c) {
        return CombineGradient{here->block.backward_input(c, in.dy, *kept)};
      },
      [&] { return CombineGradient{like.expert_gradients(group_.expert_count)}; });
  in.dy = {};
  const Key answer{key.step, key.micro_batch, key.layer, Topic::kCombineGradient,
                   group_.expert_rank};
  Message reply = make_message(answer, std::move(out));
  co_await send(combine_, reply);

  if (in.weights_later) {
    const Key go_key{key.step, key.micro_batch, key.layer, Topic::kDispatchWeights, 0};
    const Message go = co_await receive(go_key);
    in.weights_priority = std::get<DispatchWeights>(go.body).priority;
  }
  co_await here->gradients.turn(key.micro_batch);
  const TaskSpec weight_task{
      .name = "experts weight gradient", .priority = in.weights_priority, .key = key};
  co_await run(weight_task, [&](const ComputeContext& c) {
    here->block.backward_weights(c, *kept);
    here->gradients.added(c, key.micro_batch);
  });
  here->gradients.pass(*this);
  finished_.release(*this);
}

}  // namespace sluice::actors
