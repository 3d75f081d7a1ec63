// A SwiGLU feed-forward: down_proj(silu(gate_proj(x)) · up_proj(x)). The dense layers', and the
// shared experts' (n of them are one of n times the width).
#pragma once

#include <string>

#include "graph/model/parameters.hpp"

namespace sluice::model {

class FeedForward {
 public:
  struct Saved {
    Tensor x;          ///< [T, hidden]
    Tensor gate_up;    ///< [T, 2 · inner]; its gradient after backward_input
    Tensor activated;  ///< [T, inner]
    Tensor dy;         ///< [T, hidden], from backward_input to backward_weights
  };

  FeedForward() = default;
  /// Registers <prefix>gate_proj, up_proj (stacked: one product) and down_proj.
  FeedForward(ParameterSet& set, const std::string& prefix, std::int64_t hidden,
              std::int64_t inner);

  Tensor forward(const kernels::ComputeContext& context, const Tensor& x, bool keep, Saved& saved);
  Tensor backward_input(const kernels::ComputeContext& context, const Tensor& dy, Saved& saved);
  void backward_weights(const kernels::ComputeContext& context, Saved& saved);

 private:
  Linear gate_up_, down_;
};

/// Registers <prefix>gate_proj.weight and up_proj.weight as one matrix [2 · inner, hidden].
[[nodiscard]] Linear add_gate_up(ParameterSet& set, const std::string& prefix, std::int64_t hidden,
                                 std::int64_t inner);
/// Registers <prefix>down_proj.weight [hidden, inner].
[[nodiscard]] Linear add_down(ParameterSet& set, const std::string& prefix, std::int64_t hidden,
                              std::int64_t inner);

}  // namespace sluice::model
