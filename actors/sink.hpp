// Where results end: losses and loads become a step's report, logits become the next token.
#pragma once

#include "actors/flow.hpp"
#include "actors/settings.hpp"

namespace sluice::actors {

class Sink final : public FlowActor {
 public:
  struct Config {
    const graph::Plan* plan = nullptr;
    std::vector<std::int32_t> moe_layers;  ///< of the whole model, ascending
    std::int64_t mtp_depth = 0;
    LossSettings loss;
  };
  explicit Sink(Config config);

 private:
  void on_control(Message message) override;
  Flow collect(StepStart start);
  Async<StepReport> collect_losses(StepStart start);
  Async<StepReport::Layer> collect_layer(StepStart start, std::int32_t layer, double* balance);
  Flow sample(GenerateRequest request, std::int64_t step);

  Config config_;
};

}  // namespace sluice::actors
