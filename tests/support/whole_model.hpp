// A whole model put together from its layers, one after the other: what the actors must give, told
// plainly.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/model/ends.hpp"
#include "kernels/cpu/compute_context.hpp"

namespace sluice::test {

struct Hyperparameters {  // as in the oracles' expected.json
  double balance_alpha = 0.01;
  double mtp_lambda = 0.3;
  float bias_gamma = 0.001f;
  float learning_rate = 1e-3f;
  float weight_decay = 0.1f;
  float clip_norm = 1.0f;
};

struct Losses {
  double main = 0, balance = 0, total = 0;
  std::vector<double> mtp;
};

/// What one forward pass shows; `sequences` rows of `length`.
struct Outputs {
  std::vector<Tensor> hidden;  ///< embedding output, then each main layer's
  Tensor logits;
  std::vector<Tensor> mtp_logits;
  std::map<std::int64_t, model::Routing> gates;  ///< by layer
};

struct StepResult {
  Losses losses;
  double gradient_norm = 0;
  std::map<std::int64_t, double> max_violation;
};

class WholeModel {
 public:
  /// `expert_groups` divides the experts' work into that many contiguous blocks, as even as can be.
  WholeModel(const model::ModelConfig& config, model::Recipe recipe,
             const kernels::ComputeContext& context, std::int64_t expert_groups = 1,
             std::int64_t positions = 0);

  [[nodiscard]] const model::ModelConfig& config() const { return constants_->config; }
  /// All parameters by name.
  [[nodiscard]] std::map<std::string, model::Parameter*> parameters();
  void initialize(std::uint64_t seed);
  /// After master weights were written.
  void refresh();

  /// tokens i32 [B, T+1+D].
  [[nodiscard]] Outputs forward(const Tensor& tokens);
  /// Losses of the whole batch; gradients of `total` are added. `micro_batch`: sequences at a time.
  Losses forward_backward(const Tensor& tokens, const Hyperparameters& hyper,
                          std::int64_t micro_batch);
  /// Gradients cleared, forward_backward, clipping, AdamW, bias update.
  StepResult train_step(const Tensor& tokens, const Hyperparameters& hyper,
                        std::int64_t micro_batch);
  /// `prompt` and `count` greedy tokens through the latent cache.
  [[nodiscard]] std::vector<std::int32_t> generate(const std::vector<std::int32_t>& prompt,
                                                   std::int64_t count);
  /// The last logits of a run over the cache: the first `prefill` tokens at once, then one by one.
  [[nodiscard]] Tensor cached_logits(const std::vector<std::int32_t>& tokens, std::int64_t prefill);

 private:
  struct LayerState;  // saved of a layer and of its experts
  struct MicroBatch;
  struct Cache;

  [[nodiscard]] model::DecoderLayer& layer(std::int64_t id);
  Tensor layer_forward(const model::Batch& batch, const Tensor& x, bool keep, std::int64_t id,
                       LayerState& state, model::LatentCache* cache);
  Tensor layer_backward(const model::Batch& batch, const Tensor& dy, std::int64_t id,
                        float balance_gradient, LayerState& state);
  void micro_forward(MicroBatch& m, bool keep, Outputs* outputs);
  void micro_backward(MicroBatch& m, float balance_gradient, Losses& losses);
  void optimize(const Hyperparameters& hyper, double gradient_norm);
  Tensor decode(const std::vector<std::int32_t>& tokens, Cache& cache);

  kernels::ComputeContext context_;
  std::shared_ptr<const model::ModelConstants> constants_;
  std::unique_ptr<model::ParameterSet> set_;
  std::vector<std::unique_ptr<model::ParameterSet>> expert_sets_;  // by group
  std::unique_ptr<model::Embedding> embedding_;
  std::vector<model::DecoderLayer> layers_;
  std::unique_ptr<model::Norm> norm_;
  std::unique_ptr<model::Head> head_;
  std::vector<model::MtpModule> mtp_;
  std::map<std::int64_t, std::vector<model::ExpertBlock>> experts_;  // by layer, then group
  std::map<std::int64_t, std::vector<std::int64_t>> loads_;          // of the step, by layer
};

}  // namespace sluice::test
