// SwiGLU feed-forward on gemm and swiglu kernels.
#include "graph/model/feed_forward.hpp"

#include <array>

#include "kernels/activation/swiglu.hpp"

namespace sluice::model {

Linear add_gate_up(ParameterSet& set, const std::string& prefix, std::int64_t hidden,
                   std::int64_t inner) {
  const std::array<std::string, 2> names{prefix + "gate_proj.weight", prefix + "up_proj.weight"};
  const std::array<std::int64_t, 2> rows{inner, inner};
  return {set, set.add_stacked(names, rows, hidden)};
}

Linear add_down(ParameterSet& set, const std::string& prefix, std::int64_t hidden,
                std::int64_t inner) {
  return {set, set.add(prefix + "down_proj.weight", ParameterKind::kMatrix, Shape{hidden, inner})};
}

FeedForward::FeedForward(ParameterSet& set, const std::string& prefix, std::int64_t hidden,
                         std::int64_t inner)
    : gate_up_(add_gate_up(set, prefix, hidden, inner)),
      down_(add_down(set, prefix, hidden, inner)) {}

Tensor FeedForward::forward(const kernels::ComputeContext& context, const Tensor& x, bool keep,
                            Saved& saved) {
  const std::int64_t tokens = x.shape().rows();
  Tensor gate_up = context.make(x.dtype(), Shape{tokens, gate_up_.outputs()});
  gate_up_.forward(context, x.view(), gate_up.view());
  Tensor activated = context.make(x.dtype(), Shape{tokens, down_.inputs()});
  kernels::swiglu(context, gate_up.view(), {}, activated.view());
  if (keep) saved = {x, gate_up, activated, {}};
  gate_up = {};
  Tensor y = context.make(x.dtype(), Shape{tokens, down_.outputs()});
  down_.forward(context, activated.view(), y.view());
  return y;
}

Tensor FeedForward::backward_input(const kernels::ComputeContext& context, const Tensor& dy,
                                   Saved& saved) {
  Tensor dactivated = context.make(dy.dtype(), saved.activated.shape());
  down_.backward_input(context, dy.view(), dactivated.view());
  const TensorView gate_up = saved.gate_up.view();  // its gradient takes its place
  kernels::swiglu_backward(context, gate_up, {}, dactivated.view(), gate_up, {});
  dactivated = {};
  Tensor dx = context.make(dy.dtype(), saved.x.shape());
  gate_up_.backward_input(context, gate_up, dx.view());
  saved.dy = dy;
  return dx;
}

void FeedForward::backward_weights(const kernels::ComputeContext& context, Saved& saved) {
  down_.backward_weight(context, saved.dy.view(), saved.activated.view());
  gate_up_.backward_weight(context, saved.gate_up.view(), saved.x.view());
  saved = {};
}

}  // namespace sluice::model
