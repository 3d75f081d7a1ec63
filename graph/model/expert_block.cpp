// The routed experts of one group: rows gathered by expert, three grouped products each way.
#include <fmt/format.h>

#include "graph/model/decoder_layer.hpp"
#include "graph/model/feed_forward.hpp"
#include "kernels/activation/swiglu.hpp"
#include "kernels/moe/route.hpp"

namespace sluice::model {

namespace {

constexpr std::size_t kTensors = 3;  // gate_proj, up_proj, down_proj: consecutive in the set

}  // namespace

struct ExpertBlock::Weights {
  std::int64_t first = 0;
  std::int64_t count = 0;
  ParameterSet* set = nullptr;
  std::vector<Linear> gate_up, down;     ///< by local expert
  std::vector<std::size_t> first_index;  ///< of its kTensors parameters

  /// y = x · Wᵀ by row groups. Training meets each weight once or a few times before it changes, so
  /// only inference packs weights and keeps them.
  void forward(const kernels::ComputeContext& context, TensorView x,
               std::span<const std::int32_t> row_index, const kernels::Route& route,
               std::vector<Linear>& experts, TensorView y) const {
    if (set->use() == ParameterUse::kTraining) {
      return kernels::grouped_gemm(context, x, row_index, route.offsets, matrices(experts),
                                   kernels::Layout::kTransposed, y);
    }
    std::vector<const kernels::PackedB*> packed;
    packed.reserve(experts.size());
    for (Linear& expert : experts) packed.push_back(&expert.packed_forward(context));
    kernels::grouped_gemm(context, x, row_index, route.offsets, packed, y);
  }
  /// dx = dy · W by row groups.
  static void backward_input(const kernels::ComputeContext& context, TensorView dy,
                             std::span<const std::int32_t> row_index, const kernels::Route& route,
                             const std::vector<Linear>& experts, TensorView dx) {
    kernels::grouped_gemm(context, dy, row_index, route.offsets, matrices(experts),
                          kernels::Layout::kNormal, dx);
  }
  [[nodiscard]] static std::vector<TensorView> matrices(const std::vector<Linear>& experts) {
    std::vector<TensorView> views;
    views.reserve(experts.size());
    for (const Linear& expert : experts) views.push_back(expert.weight().view());
    return views;
  }
  [[nodiscard]] static std::vector<TensorView> gradients(const std::vector<Linear>& experts) {
    std::vector<TensorView> views;
    views.reserve(experts.size());
    for (const Linear& expert : experts) views.push_back(expert.gradient().view());
    return views;
  }
};

/// Rows are those of `route`; tensors have room for the most rows that any routing can give, so
/// that their sizes do not change from step to step.
struct ExpertBlock::Saved {
  kernels::Route route;
  Tensor normed, dy;   ///< [T, H], shared with the stage
  Tensor row_weights;  ///< fp32 [rows]
  Tensor gate_up;      ///< [rows, 2F]; its gradient after backward_input
  Tensor activated;    ///< [rows, F]

  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(route.tokens.size()); }
  /// [rows, columns], the used part of route.rows_max rows.
  [[nodiscard]] Tensor make(const kernels::ComputeContext& context, DType dtype,
                            std::int64_t columns) const {
    return context.make(dtype, Shape{route.rows_max, columns}).slice(0, rows());
  }
};

namespace {

void gather_weights(const Routing& routing, const kernels::Route& route, const Tensor& to) {
  const std::span<const float> weights = routing.weights.values<const float>();
  const std::span<float> rows = to.values<float>();
  for (std::size_t row = 0; row < rows.size(); ++row)
    rows[row] = weights[static_cast<std::size_t>(route.slots[row])];
}

}  // namespace

void ExpertBlock::SavedDeleter::operator()(Saved* saved) const { delete saved; }
ExpertBlock::SavedPtr ExpertBlock::make_saved() { return SavedPtr(new Saved); }

ExpertBlock::ExpertBlock(std::shared_ptr<const ModelConstants> constants, std::int64_t layer,
                         std::int64_t first, std::int64_t count, ParameterSet& set)
    : constants_(std::move(constants)), weights_(std::make_unique<Weights>()) {
  const ModelConfig& config = constants_->config;
  weights_->first = first;
  weights_->count = count;
  weights_->set = &set;
  for (std::int64_t expert = first; expert < first + count; ++expert) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.experts.{}.", layer, expert);
    const std::size_t index = set.all().size();
    weights_->first_index.push_back(index);
    weights_->gate_up.push_back(
        add_gate_up(set, prefix, config.hidden_size, config.moe_intermediate_size));
    weights_->down.push_back(
        add_down(set, prefix, config.hidden_size, config.moe_intermediate_size));
    for (std::size_t i = 0; i < kTensors; ++i) set.mark_expert(index + i);
  }
}
ExpertBlock::~ExpertBlock() = default;
ExpertBlock::ExpertBlock(ExpertBlock&&) noexcept = default;

kernels::TreePartial ExpertBlock::forward(const kernels::ComputeContext& context,
                                          const Tensor& normed, const Routing& routing, bool keep,
                                          Saved& saved) {
  const ModelConfig& config = constants_->config;
  const std::int64_t tokens = normed.shape().rows(), inner = config.moe_intermediate_size;
  const DType dtype = normed.dtype();
  Saved local;
  Saved& s = keep ? saved : local;
  kernels::route(routing.experts.values<const std::int32_t>(), tokens, config.num_experts_per_tok,
                 weights_->first, weights_->count, s.route);
  s.row_weights = s.make(context, DType::kF32, 1);
  gather_weights(routing, s.route, s.row_weights);
  s.gate_up = s.make(context, dtype, 2 * inner);
  weights_->forward(context, normed.view(), s.route.tokens, s.route, weights_->gate_up,
                    s.gate_up.view());
  s.activated = s.make(context, dtype, inner);
  kernels::swiglu(context, s.gate_up.view(), s.row_weights.values<const float>(),
                  s.activated.view());
  if (!keep) s.gate_up = {};
  const Tensor y = s.make(context, dtype, config.hidden_size);
  weights_->forward(context, s.activated.view(), {}, s.route, weights_->down, y.view());
  s.normed = normed;
  kernels::TreePartial partial;
  kernels::tree_combine(context, s.route, weights_->first, weights_->count, tokens, y.view(),
                        partial);
  return partial;
}

ExpertGradients ExpertBlock::backward_input(const kernels::ComputeContext& context,
                                            const Tensor& dy, Saved& s) {
  const ModelConfig& config = constants_->config;
  ExpertGradients result;
  result.slots = s.route.slots;
  result.weights = s.make(context, DType::kF32, 1);
  {
    const Tensor dactivated = s.make(context, dy.dtype(), config.moe_intermediate_size);
    Weights::backward_input(context, dy.view(), s.route.tokens, s.route, weights_->down,
                            dactivated.view());
    const TensorView gate_up = s.gate_up.view();  // its gradient takes its place
    kernels::swiglu_backward(context, gate_up, s.row_weights.values<const float>(),
                             dactivated.view(), gate_up, result.weights.values<float>());
  }
  s.row_weights = {};
  s.dy = dy;
  const Tensor dx = s.make(context, dy.dtype(), config.hidden_size);
  Weights::backward_input(context, s.gate_up.view(), {}, s.route, weights_->gate_up, dx.view());
  kernels::tree_combine(context, s.route, weights_->first, weights_->count, dy.shape().rows(),
                        dx.view(), result.input);
  return result;
}

void ExpertBlock::backward_weights(const kernels::ComputeContext& context, Saved& s) {
  kernels::grouped_gemm_weights(context, s.gate_up.view(), s.normed.view(), s.route.tokens,
                                s.route.offsets, Weights::gradients(weights_->gate_up));
  s.gate_up = {};
  const Tensor dy_rows = s.make(context, s.dy.dtype(), constants_->config.hidden_size);
  kernels::gather_rows(context, s.dy.view(), s.route.tokens, dy_rows.view());
  kernels::grouped_gemm_weights(context, dy_rows.view(), s.activated.view(), {}, s.route.offsets,
                                Weights::gradients(weights_->down));
  for (std::size_t e = 0; e < weights_->first_index.size(); ++e) {
    if (s.route.offsets[e] == s.route.offsets[e + 1]) continue;
    for (std::size_t i = 0; i < kTensors; ++i)
      weights_->set->mark_reached(weights_->first_index[e] + i);
  }
  s = {};
}

}  // namespace sluice::model
