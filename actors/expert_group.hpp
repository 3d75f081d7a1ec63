// The routed experts of one rank: for every MoE layer of its stage, a block of consecutive experts.
#pragma once

#include <map>

#include "actors/owner.hpp"
#include "graph/model/decoder_layer.hpp"

namespace sluice::actors {

/// Answers each dispatch as it comes; micro-batches of several passes may be here at once. Weight
/// gradients follow at once, or when the stage's weight pass says so, and are added in micro-batch
/// order, layer by layer.
class ExpertGroup final : public Owner {
 public:
  ExpertGroup(const Config& config, const graph::ExpertGroupPlan& group);
  [[nodiscard]] bool idle() const override { return Owner::idle() && kept_.empty(); }

 private:
  struct Layer {
    model::ExpertBlock block;
    Sum gradients;
  };
  using Place = std::pair<std::int32_t, std::int32_t>;  // layer, micro-batch

  void on_step(StepStart start) override;
  void on_arrival(const Key& key) override;
  std::vector<Sum*> sums() override;
  std::vector<std::int64_t> counts_of(const Sum& sum) override;
  void take_counts(const Sum& sum, std::span<const std::int64_t> counts) override;
  ActorIndex peer(std::int32_t pipeline_rank) const override;
  Flow step(StepStart start);
  Flow forward(Key key);
  Flow backward(Key key);
  Layer& layer(std::int32_t index) { return layers_.at(index); }

  graph::ExpertGroupPlan group_;
  ActorIndex combine_ = kNoActor;  // channel to the stage
  std::map<std::int32_t, Layer> layers_;
  std::int32_t weights_expected_ = 0;  // layers x their micro-batches, in a step
  std::map<Place, model::ExpertBlock::SavedPtr> kept_;
  Semaphore finished_;  // layers x micro-batches whose weight gradients are in
};

}  // namespace sluice::actors
