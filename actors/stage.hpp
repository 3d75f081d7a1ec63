// A pipeline rank's chunk of the model: some decoder layers, on the first rank the embedding, on
// the last one the head and multi-token prediction.
//
// A stage runs its program: an ordered list of passes, each a flow. 1 + run_ahead of them are under
// way at once, so while one awaits expert groups or a neighbour, another's kernels have the lane.
// Sums keep micro-batch order by turnstiles, so what runs ahead never changes a bit.
#pragma once

#include <map>
#include <optional>

#include "actors/owner.hpp"
#include "graph/model/ends.hpp"

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
  // One decoder layer with the order of its weight gradients and the step's expert loads.
  struct Layer {
    model::DecoderLayer* layer;  // in layers_ or in an MtpModule
    Turnstile weights;
    std::vector<std::int64_t> loads;
  };
  struct MtpSaved {
    model::MtpModule::Saved module;
    Tensor dembedding;  // gradient of the embedding rows it read
  };
  // One micro-batch between its forward and its backward pass.
  struct Live {
    Semaphore forward_done;
    model::Batch batch;
    Tensor tokens;  // [B, T + 1 + D], where this stage has an end of the model
    std::map<std::int32_t, model::DecoderLayer::SavedPtr> layers;
    model::Norm::Saved norm;
    std::vector<MtpSaved> mtp;
    std::vector<Tensor> heads;        // what the head reads: main, then depth 1 .. D
    std::vector<Tensor> dembeddings;  // by depth, where first and last stage are one
  };
  // A pass on its way: what it works on and how it is announced.
  struct Pass {
    StepStart start;
    std::int32_t micro_batch = 0;
    std::int32_t priority = 0;
    bool keep = false;  // a backward pass follows
    Live* live = nullptr;
    [[nodiscard]] Key key(Topic topic, std::int32_t layer = 0, std::int32_t part = 0) const {
      return {start.step, micro_batch, layer, topic, part};
    }
    [[nodiscard]] TaskSpec task(const char* name, std::int32_t layer = 0) const {
      return {name, 0, priority, Lane::kCompute, key(Topic::kControl, layer)};
    }
  };

  void on_step(StepStart start) override;
  void after_update() override;

  // ---- Programs ----
  Flow run_program(StepStart start);
  Flow run_generation(StepStart start);
  Flow forward_pass(Pass pass);
  Flow backward_pass(Pass pass);

  // ---- Parts of a pass ----
  Async<Tensor> enter(Pass pass);
  Async<Tensor> forward_layer(Pass pass, std::int32_t index, Tensor x);
  Async<Tensor> route_forward(Pass pass, std::int32_t index,
                              model::DecoderLayer::Attended attended);
  Async<Done> leave(Pass pass, Tensor x);
  Async<Done> forward_heads(Pass pass, Tensor x);
  Async<std::vector<Tensor>> embedding_rows(Pass pass);
  Async<Done> evaluate_heads(Pass pass);
  Async<Tensor> backward_heads(Pass pass);
  Async<Tensor> backward_mtp(Pass pass, std::int32_t depth, Tensor dh);
  Async<Tensor> backward_layer(Pass pass, std::int32_t index, Tensor dy);
  Async<Tensor> route_backward(Pass pass, std::int32_t index, Tensor dy);
  Async<Done> backward_embedding(Pass pass, Tensor dx);
  Async<bool> generate_position(Pass pass, Message message);

  void observe(const Pass& pass, std::string name, Tensor tensor);
  void report_balance(const Pass& pass, std::int32_t index, double balance,
                      const std::vector<std::int64_t>& loads);
  [[nodiscard]] Layer& layer(std::int32_t index) { return layers_.at(index); }
  [[nodiscard]] std::int32_t mtp_depth() const { return static_cast<std::int32_t>(mtp_.size()); }
  [[nodiscard]] float row_gradient(const StepStart& start) const;

  graph::StagePlan stage_;
  Options options_;
  model::Batch batch_;  // of every micro-batch of a program
  std::optional<model::Embedding> embedding_;
  std::optional<model::Norm> norm_;
  std::optional<model::Head> head_;
  std::vector<model::DecoderLayer> main_layers_;
  std::vector<model::MtpModule> mtp_;
  std::map<std::int32_t, Layer> layers_;
  std::map<std::int32_t, model::LatentCache> caches_;  // by layer; the sequence being generated
  Turnstile head_turn_, norm_turn_, embedding_turn_;
  std::vector<Turnstile> mtp_turns_;
  std::map<std::int32_t, Live> live_;
  Semaphore slots_, activations_;
};

}  // namespace sluice::actors
