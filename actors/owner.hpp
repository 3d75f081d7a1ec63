// What a stage and an expert group have in common: parameters, their update at the end of a step,
// and snapshots.
#pragma once

#include <memory>

#include "actors/flow.hpp"
#include "actors/settings.hpp"
#include "graph/model/parameters.hpp"

namespace sluice::actors {

class Owner : public FlowActor {
 public:
  struct Config {
    const graph::Plan* plan = nullptr;  ///< outlives the actor
    ActorIndex self = kNoActor;
    std::shared_ptr<const model::ModelConstants> constants;
    model::ParameterUse use = model::ParameterUse::kTraining;
    LossSettings loss;
    OptimizerSettings optimizer;
  };

  /// For loading and initialising before the host starts.
  [[nodiscard]] model::ParameterSet& parameters() { return parameters_; }

 protected:
  explicit Owner(const Config& config);

  /// Ends a step: in training, sums of squares go to the reducer, its answer updates the
  /// parameters. Then OwnerDone.
  Async<Done> finish_step(StepStart start);
  /// Called once an update has been applied (gate biases move here).
  virtual void after_update() {}

  void on_control(Message message) final;
  virtual void on_step(StepStart start) = 0;

  [[nodiscard]] const graph::Plan& plan() const { return *config_.plan; }
  [[nodiscard]] const Config& config() const { return config_; }
  /// The channel to an actor with a role.
  [[nodiscard]] ActorIndex channel(ActorIndex to, graph::ChannelRole role) const;
  /// Rows of one micro-batch and sequences of one step.
  [[nodiscard]] std::int64_t sequences(const StepStart& start) const;

  model::ParameterSet parameters_;

 private:
  Flow snapshot(SnapshotRequest request);
  void update(const kernels::ComputeContext& context, const ApplyUpdate& apply);

  Config config_;
};

}  // namespace sluice::actors
