// Writes snapshots to storage while training goes on.
#pragma once

#include "actors/flow.hpp"

namespace sluice::actors {

/// Where checkpoints go. Called on the storage lane, one call at a time.
class CheckpointStore {
 public:
  virtual ~CheckpointStore() = default;
  /// Writes the state after `index` updates, whole or not at all. Returns the path.
  virtual Result<std::string> write(std::int64_t index,
                                    std::span<const ParameterState> parameters) = 0;
};

class Checkpointer final : public FlowActor {
 public:
  struct Config {
    const graph::Plan* plan = nullptr;
    CheckpointStore* store = nullptr;  ///< outlives the actor; null where nothing is saved
  };
  explicit Checkpointer(Config config) : FlowActor(config.plan->checkpointer), config_(config) {}

 private:
  void on_control(Message message) override;
  Flow write(SnapshotRequest request);

  Config config_;
};

}  // namespace sluice::actors
