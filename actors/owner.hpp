// What a stage and an expert group have in common: parameters, the sums of their gradients, their
// update at the end of a step, and snapshots.
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

  /// Gradients of some consecutive parameters over the micro-batches that this owner sees, which
  /// are those of one route. The step's micro-batches form `gradient_shards` parts. A part is
  /// summed in order, parts along the binary tree over their numbers; what a route has is a
  /// subtree, and exchange() adds those of other routes.
  class Sum {
   public:
    /// Of the parameters from `first` to the last one that `set` has now. `id` is the same in all
    /// holders of the chunk: a layer, or a negative number.
    Sum(model::ParameterSet& set, const graph::Plan& plan, const graph::ChunkPlan& chunk,
        std::int32_t id, std::size_t first);
    void begin();
    /// Waits until all earlier micro-batches are in.
    [[nodiscard]] auto turn(std::int32_t micro_batch) { return turns_.turn(micro_batch); }
    /// In the task that added a micro-batch's gradients: closes the part that it ends.
    void added(const kernels::ComputeContext& context, std::int32_t micro_batch);
    void pass(FlowActor& actor) { turns_.pass(actor); }

    [[nodiscard]] std::int32_t id() const { return id_; }
    [[nodiscard]] const graph::ChunkPlan& chunk() const { return *chunk_; }
    [[nodiscard]] std::span<model::Parameter> parameters() const;
    [[nodiscard]] std::size_t first_parameter() const { return first_; }
    /// Copies of the gradients, in order of the parameters that have one.
    [[nodiscard]] std::vector<Tensor> copy(const kernels::ComputeContext& context) const;
    /// What copy() gives, without elements.
    [[nodiscard]] std::vector<Tensor> shapes() const;
    /// The gradients become the sum of what the routes have, along the tree over routes.
    void take(const kernels::ComputeContext& context, std::span<const std::vector<Tensor>> routes);

   private:
    [[nodiscard]] std::int64_t part_end(std::int64_t part) const;
    void add_newest(const kernels::ComputeContext& context);

    model::ParameterSet* set_;
    const graph::ChunkPlan* chunk_;
    std::int32_t id_;
    std::size_t first_, last_;
    std::int64_t micro_batches_, parts_;    // of the step
    std::int64_t part_first_, part_count_;  // of the route
    std::int64_t parts_done_ = 0;
    std::vector<std::vector<Tensor>> subtrees_;  // of finished parts, the largest first
    Turnstile turns_;
  };

  /// Every sum of this owner, ascending by id.
  [[nodiscard]] virtual std::vector<Sum*> sums() = 0;
  /// What goes with a sum's gradients and is added up likewise.
  [[nodiscard]] virtual std::vector<std::int64_t> counts_of(const Sum& sum) = 0;
  virtual void take_counts(const Sum& sum, std::span<const std::int64_t> counts) = 0;
  /// The owner that holds the same parameters on another pipeline rank.
  [[nodiscard]] virtual ActorIndex peer(std::int32_t pipeline_rank) const = 0;

  /// Ends a step: gradients of other holders are added; in training, sums of squares go to the
  /// reducer, its answer updates the parameters. Then OwnerDone.
  Async<Done> finish_step(StepStart start);
  /// In the task that updates: what follows from the step's counts (gate biases move here).
  virtual void update_by_counts() {}

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
  Async<Done> exchange(StepStart start);
  Async<Done> exchange(StepStart start, Sum* sum);
  void update(const kernels::ComputeContext& context, const ApplyUpdate& apply);

  Config config_;
};

}  // namespace sluice::actors
