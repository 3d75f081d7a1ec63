// Small training runs on the engine for tests: random tokens, and a host that looks at what passes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "actors/channel.hpp"
#include "runtime/engine/cluster.hpp"
#include "runtime/host/sim_host.hpp"

namespace sluice::engine {

/// Tokens as a function of step, micro-batch and position.
class RandomReader final : public actors::SampleReader {
 public:
  explicit RandomReader(std::int64_t vocab_size) : vocab_size_(vocab_size) {}
  Status read(actors::StepMode mode, std::int64_t index, std::int32_t micro_batch,
              Tensor tokens) override;

 private:
  std::int64_t vocab_size_;
};

/// Four layers, 8 experts, a prediction depth, small sizes; one step has four micro-batches.
[[nodiscard]] ClusterOptions small_training(RandomReader& reader);
/// Of the model that small_training() trains.
[[nodiscard]] model::ModelConfig small_model();

/// Initialises and starts.
[[nodiscard]] Result<std::unique_ptr<Cluster>> start_training(const ClusterOptions& options);
/// Runs steps [first, last); a report each.
[[nodiscard]] Result<std::vector<actors::StepReport>> run_steps(Cluster& cluster,
                                                                std::int64_t first,
                                                                std::int64_t last);

/// SimHost, with a hand on the channels and on where actors live.
class WatchedHost final : public host::Host {
 public:
  explicit WatchedHost(host::SimHost::Config config) : sim_(std::move(config)) {}
  /// Expert groups compute on lanes of their own, not beside their stage.
  void set_expert_lanes() { expert_lanes_ = true; }

  void add(graph::ActorIndex index, const graph::ActorPlan& place,
           std::unique_ptr<actors::Actor> actor) override;
  Status start() override { return sim_.start(); }
  void send(graph::ActorIndex to, actors::Message message) override {
    sim_.send(to, std::move(message));
  }
  Result<std::optional<actors::Message>> receive_for(std::chrono::nanoseconds wait_max) override {
    return sim_.receive_for(wait_max);
  }
  Activity activity() const override { return sim_.activity(); }
  std::vector<std::optional<actors::Waiting>> waiting(std::chrono::nanoseconds max) override {
    return sim_.waiting(max);
  }
  Status stop() override { return sim_.stop(); }

  [[nodiscard]] const host::SimHost& sim() const { return sim_; }
  /// By index in the plan; they live as long as the host runs.
  [[nodiscard]] const std::map<graph::ActorIndex, const actors::Channel*>& channels() const {
    return channels_;
  }

 private:
  host::SimHost sim_;
  bool expert_lanes_ = false;
  std::map<graph::ActorIndex, const actors::Channel*> channels_;
};

}  // namespace sluice::engine
