// Conducts a run: one step after the other, evaluations and checkpoints between them.
#pragma once

#include "actors/flow.hpp"

namespace sluice::actors {

class Supervisor final : public FlowActor {
 public:
  struct Config {
    const graph::Plan* plan = nullptr;
    std::int64_t evaluate_every = 0;  ///< training steps; 0: only after the last
    std::int32_t evaluate_micro_batches = 0;
    std::int64_t checkpoint_every = 0;  ///< training steps; 0: only at the end
    bool checkpoint_at_end = false;     ///< also after Stop
  };
  explicit Supervisor(Config config) : FlowActor(config.plan->supervisor), config_(config) {}

 private:
  void on_control(Message message) override;
  Flow train(RunTraining command);
  Flow single(RunStep command);
  Flow generate(GenerateRequest request);
  Flow snapshot(SnapshotRequest request);
  Async<Done> step(StepMode mode, std::int64_t index, std::int32_t micro_batches);
  Async<Done> collect_owners(std::int64_t step, Topic topic);
  Async<Done> checkpoint(std::int64_t index);
  Async<Done> finish_checkpoint();

  Config config_;
  bool stopping_ = false;
  std::int64_t next_step_ = 1;
  std::int64_t checkpoint_under_way_ = -1;  // index of the snapshot being written
};

}  // namespace sluice::actors
