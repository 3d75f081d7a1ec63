// What a pipeline rank holds of the model: for each visit of a route a chunk, that is some decoder
// layers, of the first stage the embedding, of the last one the head and multi-token prediction.
//
// A stage runs its program: an ordered list of actions, each one flow or, as a pair, two. 1 +
// run_ahead of them are under way at once, so while one awaits expert groups or a neighbour,
// another's kernels have the lane. Weight gradients are flows of their own that hold no place in
// that window: a full backward pass starts them layer by layer, a weight pass all at once. Sums
// keep micro-batch order by turnstiles, so what runs ahead never changes a bit.
#pragma once

#include <map>
#include <optional>

#include "actors/owner.hpp"
#include "graph/model/ends.hpp"
#include "graph/model/stand_ins.hpp"

namespace sluice::actors {

class Stage final : public Owner {
 public:
  struct Options {
    bool observe = false;  ///< send every hidden state, logit and gate to the outside (probe)
    std::int64_t positions_max = 0;  ///< capacity of latent caches in generation
  };
  Stage(const Config& config, const graph::StagePlan& stage, Options options);
  [[nodiscard]] bool idle() const override { return Owner::idle() && live_.empty(); }

 private:
  // One decoder layer, of an MTP depth with what belongs to the depth, with the step's expert
  // loads.
  struct Layer {
    model::DecoderLayer* layer;       // in layers of main_layers_ or in an MtpModule
    model::MtpModule* mtp = nullptr;  // whose layer it is
    Sum gradients;
    std::vector<std::int64_t> loads;
  };
  struct MtpSaved {
    model::MtpModule::Saved module;
    Tensor dembedding;  // gradient of the embedding rows it read
  };
  // One micro-batch in one chunk, from its forward pass to the end of its weight gradients.
  struct Live {
    Semaphore forward_done, input_done, weights_done;
    model::Batch batch;
    Tensor tokens;  // [B, T + 1 + D], where the chunk has an end of the model
    std::map<std::int32_t, model::DecoderLayer::SavedPtr> layers;
    model::Norm::Saved norm;
    std::vector<MtpSaved> mtp;
    std::vector<Tensor> heads;           // what the head reads: main, then depth 1 .. D
    std::vector<Tensor> embedding_rows;  // gradients: of the chunk's input, then by depth
  };
  // A pass on its way: what it works on and how it is announced.
  struct Pass {
    StepStart start;
    const graph::ChunkPlan* chunk = nullptr;
    std::int32_t micro_batch = 0;  // of the step
    std::size_t action = 0;        // in the program
    std::int32_t turn = 0;         // among the chunk's passes of its direction: F, or B and I
    std::int32_t priority = 0;
    std::int32_t weights_priority = 0;
    bool keep = false;           // a backward pass follows
    bool weights_later = false;  // I: a weight pass follows
    bool weights_go = false;     // W: expert groups wait for its word
    Live* live = nullptr;
    [[nodiscard]] Key key(Topic topic, std::int32_t layer = 0, std::int32_t part = 0) const {
      return {start.step, micro_batch, layer, topic, part};
    }
    [[nodiscard]] TaskSpec task(const char* name, std::int32_t layer = 0) const {
      return {name, 0, priority, Lane::kCompute, {start.step, micro_batch, layer}};
    }
    [[nodiscard]] TaskSpec weights_task(const char* name, std::int32_t layer = 0) const {
      return {name, 0, weights_priority, Lane::kCompute, {start.step, micro_batch, layer}};
    }
  };

  void on_step(StepStart start) override;
  void update_by_counts() override;
  std::vector<Sum*> sums() override;
  std::vector<std::int64_t> counts_of(const Sum& sum) override;
  void take_counts(const Sum& sum, std::span<const std::int64_t> counts) override;
  ActorIndex peer(std::int32_t pipeline_rank) const override;
  void add_layers(const graph::ChunkPlan& chunk);
  void add_ends(const graph::ChunkPlan& chunk);

  // ---- Programs ----
  Flow run_program(StepStart start);
  Flow run_generation(StepStart start);
  /// How many passes of a chunk have begun.
  struct Turns {
    std::int32_t forward = 0, backward = 0;
  };
  void begin(const StepStart& start, const graph::Placement& dealt, const graph::Action& action,
             std::size_t index, std::vector<Turns>& turns);
  /// The pass has done what its place in the window is for.
  void leave_window(const Pass& pass);
  Flow forward_pass(Pass pass);
  Flow backward_pass(Pass pass);
  Flow weight_pass(Pass pass);
  /// To another chunk, after the passes before in the program have sent theirs: what runs ahead
  /// never takes the room that an older pass waits for. So whether a plan stands still does not
  /// depend on timing (graph/plan_check.cpp).
  Async<Done> send_in_turn(Pass pass, ActorIndex channel, Message message);

  // ---- Parts of a forward pass ----
  Async<Tensor> enter(Pass pass);
  Async<Tensor> forward_layer(Pass pass, std::int32_t index, Tensor x);
  Async<Tensor> route_forward(Pass pass, std::int32_t index,
                              model::DecoderLayer::Attended attended);
  Async<Done> leave(Pass pass, Tensor x);
  Async<Done> forward_heads(Pass pass, Tensor x);
  Async<std::vector<Tensor>> embedding_rows(Pass pass);
  Async<Done> evaluate_heads(Pass pass);
  Async<bool> generate_position(Pass pass, Message message);

  // ---- Parts of a backward pass ----
  Async<Tensor> receive_gradient(Pass pass);
  Async<Tensor> backward_heads(Pass pass);
  Async<std::vector<Tensor>> head_gradients(Pass pass);
  Async<Tensor> backward_mtp(Pass pass, std::int32_t depth, Tensor dh);
  Async<Tensor> backward_layer(Pass pass, std::int32_t index, Tensor dy);
  Async<Tensor> route_backward(Pass pass, std::int32_t index, Tensor dy);
  Async<Done> leave_backward(Pass pass, Tensor dx);

  // ---- Weight gradients, each a flow that waits for its turn ----
  Flow layer_weights(Pass pass, std::int32_t index);
  Flow head_weights(Pass pass);
  Flow norm_weights(Pass pass);
  Flow embedding_weights(Pass pass);
  /// When all of a pass's are in, its activation is free.
  Async<Done> finish_weights(Pass pass);
  [[nodiscard]] std::int32_t weight_flows(const graph::ChunkPlan& chunk) const;

  void observe(const Pass& pass, std::string name, Tensor tensor);
  void report_balance(const Pass& pass, std::int32_t index, double balance,
                      const std::vector<std::int64_t>& loads);
  /// What the pass's tasks give where nothing is computed.
  [[nodiscard]] model::StandIns stand_in(const Pass& pass) const {
    return {*config().constants, pass.live->batch.tokens()};
  }
  [[nodiscard]] Layer& layer(std::int32_t index) { return layers_.at(index); }
  [[nodiscard]] std::int32_t mtp_depth() const { return static_cast<std::int32_t>(mtp_.size()); }
  [[nodiscard]] std::int32_t mtp_layer(std::int32_t depth) const;
  /// d(total loss)/d(loss of one row), for the main head and each depth.
  [[nodiscard]] std::vector<float> row_gradients(const StepStart& start) const;

  const graph::StagePlan& stage_;  // in the plan
  Options options_;
  model::Batch batch_;  // of the plan's micro-batches; positions are shared
  std::optional<model::Embedding> embedding_;
  std::optional<model::Norm> norm_;
  std::optional<model::Head> head_;
  std::deque<model::DecoderLayer> main_layers_;
  std::vector<model::MtpModule> mtp_;
  std::map<std::int32_t, Layer> layers_;
  std::map<std::int32_t, model::LatentCache> caches_;  // by layer; the sequence being generated
  std::optional<Sum> embedding_sum_, norm_sum_, head_sum_;
  std::map<std::pair<std::int32_t, std::int32_t>, Live> live_;  // by model stage and micro-batch
  std::map<std::size_t, std::int32_t> passes_under_way_;        // by action
  std::map<ActorIndex, Turnstile> send_turns_;                  // by channel to another chunk
  Semaphore slots_, activations_;
};

}  // namespace sluice::actors
