// One decoder layer: MLA, then a dense feed-forward or DeepSeekMoE (report 2.1; FACTS names in
// docs/architecture.md).
//
// A layer is cut where messages leave and enter it. Forward of an MoE layer:
//   attention_forward -> [dispatch to expert groups] -> shared_forward -> [their sums arrive] ->
//   combine_forward
// and backward, of dy:
//   [dispatch dy] -> shared_backward -> [sums and weight gradients arrive] -> combine_backward ->
//   attention_backward
// then, at any later time, backward_weights. A dense layer is attention_forward -> dense_forward
// and dense_backward -> attention_backward. Gradients of weights are added in the order of the
// calls, so callers keep micro-batch order.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "graph/model/batch.hpp"
#include "graph/model/mla.hpp"
#include "kernels/moe/gate.hpp"
#include "kernels/moe/route.hpp"

namespace sluice::model {

/// What a gate chose, for all tokens of a micro-batch; shared with the expert groups by reference.
struct Routing {
  Tensor scores;   ///< fp32 [T, E] sigmoid scores
  Tensor experts;  ///< i32 [T, K], ascending ids
  Tensor weights;  ///< fp32 [T, K]
};

/// An expert group's answer to a dispatched gradient.
struct ExpertGradients {
  kernels::TreePartial input;       ///< of the layer's normed tokens
  std::vector<std::int32_t> slots;  ///< row -> token · K + k
  Tensor weights;                   ///< fp32 [rows]: gradient of the gate weight of that slot
};

class DecoderLayer {
 public:
  /// Everything kept from forward to backward for one micro-batch. Released when destroyed.
  struct Saved;
  struct SavedDeleter {
    void operator()(Saved* saved) const;
  };
  using SavedPtr = std::unique_ptr<Saved, SavedDeleter>;

  /// Registers its parameters (all but the routed experts) in `set` under "model.layers.<layer>.".
  DecoderLayer(std::shared_ptr<const ModelConstants> constants, std::int64_t layer,
               ParameterSet& set);
  ~DecoderLayer();
  DecoderLayer(DecoderLayer&&) noexcept;

  [[nodiscard]] bool is_moe() const;
  [[nodiscard]] std::int64_t layer() const;
  [[nodiscard]] static SavedPtr make_saved();

  // Forward. `saved` collects what backward needs; with keep = false only what the rest of this
  // forward needs.
  struct Attended {
    Tensor hidden;    ///< x + attention [T, H]
    Tensor normed;    ///< post_attention_layernorm(hidden) [T, H]: what experts read
    Routing routing;  ///< MoE layers only
  };
  Attended attention_forward(const kernels::ComputeContext& context, const Batch& batch,
                             const Tensor& x, bool keep, Saved& saved);
  /// The same over a latent cache: rows of `x` are appended to `cache` at batch.positions (one
  /// sequence, inference).
  Attended attention_cached(const kernels::ComputeContext& context, const Batch& batch,
                            const Tensor& x, LatentCache& cache, Saved& saved);
  /// Dense layers: y [T, H].
  Tensor dense_forward(const kernels::ComputeContext& context, bool keep, Saved& saved);
  /// MoE layers: the shared experts' output [T, H] (empty without shared experts).
  Tensor shared_forward(const kernels::ComputeContext& context, bool keep, Saved& saved);
  /// y = hidden + (tree sum of routed experts + shared). `groups` in order of their first expert.
  Tensor combine_forward(const kernels::ComputeContext& context, const Tensor& shared,
                         std::span<const kernels::TreePartial* const> groups, Saved& saved);

  // Backward for inputs.
  /// Dense layers: dy -> gradient of hidden.
  Tensor dense_backward(const kernels::ComputeContext& context, const Tensor& dy, Saved& saved);
  /// MoE layers: dy -> gradient of `normed` through the shared experts (empty without shared
  /// experts).
  Tensor shared_backward(const kernels::ComputeContext& context, const Tensor& dy, Saved& saved);
  /// MoE layers: everything that reaches `hidden`. `balance_gradient`: d(total loss)/d(balance sum
  /// over this micro-batch's sequences), that is balance_alpha / (sequences of the whole batch).
  Tensor combine_backward(const kernels::ComputeContext& context, const Tensor& dy,
                          const Tensor& dshared, std::span<const ExpertGradients* const> groups,
                          float balance_gradient, Saved& saved);
  /// Gradient of hidden -> gradient of x.
  Tensor attention_backward(const kernels::ComputeContext& context, const Batch& batch,
                            const Tensor& dhidden, Saved& saved);

  /// Adds this micro-batch's weight gradients and frees what was kept for them.
  void backward_weights(const kernels::ComputeContext& context, Saved& saved);

  // Balance.
  /// Sum over the micro-batch's sequences of sum_i f_i P_i (0 for dense layers).
  [[nodiscard]] double balance(const kernels::ComputeContext& context, const Batch& batch,
                               const Saved& saved) const;
  /// Adds to loads[i] the number of this micro-batch's tokens that chose expert i.
  static void count_loads(const Routing& routing, std::span<std::int64_t> loads);
  /// bias_i += gamma · sign(mean(loads) - loads_i).
  void update_bias(std::span<const std::int64_t> loads, float gamma);
  /// Max load / mean load - 1.
  [[nodiscard]] static double max_violation(std::span<const std::int64_t> loads);

 private:
  struct Weights;
  [[nodiscard]] Routing choose_experts(const kernels::ComputeContext& context,
                                       const Tensor& normed);
  /// Residual, norm and gate behind either form of attention; `attention` becomes the hidden state.
  Attended after_attention(const kernels::ComputeContext& context, const Batch& batch,
                           const Tensor& x, Tensor attention, bool keep, Saved& saved);
  /// Adds to dnormed what comes through the gate's weights and the balance loss.
  void gate_backward(const kernels::ComputeContext& context,
                     std::span<const ExpertGradients* const> groups, float balance_gradient,
                     const Tensor& dnormed, Saved& saved);

  std::shared_ptr<const ModelConstants> constants_;
  std::unique_ptr<Weights> weights_;
};

/// Routed experts [first, first + count) of one layer, as an expert group holds them.
class ExpertBlock {
 public:
  struct Saved;
  struct SavedDeleter {
    void operator()(Saved* saved) const;
  };
  using SavedPtr = std::unique_ptr<Saved, SavedDeleter>;

  ExpertBlock(std::shared_ptr<const ModelConstants> constants, std::int64_t layer,
              std::int64_t first, std::int64_t count, ParameterSet& set);
  ~ExpertBlock();
  ExpertBlock(ExpertBlock&&) noexcept;

  [[nodiscard]] static SavedPtr make_saved();
  /// normed [T, H] and its routing -> this group's partial sums.
  kernels::TreePartial forward(const kernels::ComputeContext& context, const Tensor& normed,
                               const Routing& routing, bool keep, Saved& saved);
  ExpertGradients backward_input(const kernels::ComputeContext& context, const Tensor& dy,
                                 Saved& saved);
  void backward_weights(const kernels::ComputeContext& context, Saved& saved);

 private:
  struct Weights;
  std::shared_ptr<const ModelConstants> constants_;
  std::unique_ptr<Weights> weights_;
};

}  // namespace sluice::model
