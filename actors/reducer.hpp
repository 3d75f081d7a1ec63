// Gradients across owners: the global norm, and what every owner multiplies its gradients with.
#pragma once

#include "actors/flow.hpp"
#include "actors/settings.hpp"

namespace sluice::actors {

class Reducer final : public FlowActor {
 public:
  struct Config {
    const graph::Plan* plan = nullptr;
    OptimizerSettings optimizer;
  };
  explicit Reducer(Config config);

 private:
  void on_control(Message message) override;
  Flow reduce(StepStart start);

  Config config_;
};

/// Stages, then expert groups: everyone who holds parameters, in plan order.
[[nodiscard]] std::vector<ActorIndex> owners_of(const graph::Plan& plan);

}  // namespace sluice::actors
