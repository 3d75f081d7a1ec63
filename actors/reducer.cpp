// The norm is a sum over parameters in the order of their names, so no layout changes it.
#include "actors/reducer.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/base/check.hpp"

namespace sluice::actors {

Reducer::Reducer(Config config) : FlowActor(config.plan->reducer), config_(std::move(config)) {}

std::vector<ActorIndex> owners_of(const graph::Plan& plan) {
  std::vector<ActorIndex> out;
  for (const graph::StagePlan& stage : plan.stages) out.push_back(stage.actor);
  for (const graph::ExpertGroupPlan& group : plan.expert_groups) out.push_back(group.actor);
  return out;
}

void Reducer::on_control(Message message) {
  const auto* start = std::get_if<StepStart>(&message.body);
  SLUICE_CHECK(start != nullptr, "reducer: unexpected message {}", message.body.index());
  if (start->mode == StepMode::kTrain) reduce(*start);
}

Flow Reducer::reduce(StepStart start) {
  std::vector<GradientSquares::Entry> entries;
  const std::vector<ActorIndex> owners = owners_of(*config_.plan);
  for (const ActorIndex owner : owners) {
    const Key key{start.step, 0, 0, Topic::kSquares, owner};
    Message message = co_await receive(key);
    GradientSquares& part = std::get<GradientSquares>(message.body);
    std::move(part.entries.begin(), part.entries.end(), std::back_inserter(entries));
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  double sum = 0;
  for (const GradientSquares::Entry& entry : entries) sum += entry.sum;

  ApplyUpdate update;
  update.norm = std::sqrt(sum);
  if (!std::isfinite(update.norm)) {
    post(kOutside,
         make_message(
             {}, Failure{fmt::format(
                     "step {}: the gradient norm is {}; lower train.learning_rate or look for bad "
                     "data, then go on from the last checkpoint with --resume",
                     start.index, update.norm)}));
    co_return;
  }
  const double clip = config_.optimizer.clip_norm;
  update.scale = clip > 0 ? static_cast<float>(std::min(1.0, clip / (update.norm + 1e-6))) : 1.0f;
  update.learning_rate = config_.optimizer.learning_rate(start.index);
  update.update = start.index + 1;
  const Key key{start.step, 0, 0, Topic::kUpdate, 0};
  for (const ActorIndex owner : owners) post(owner, make_message(key, update));
  post(config_.plan->sink, make_message(key, update));
}

}  // namespace sluice::actors
