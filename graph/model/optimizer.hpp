// One AdamW update of all parameters of an owner.
#pragma once

#include "graph/model/parameters.hpp"

namespace sluice::model {

struct AdamW {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;  ///< of matrices; vectors are not decayed
  float gradient_scale = 1;   ///< the clipping factor

  /// Updates master weights, moments and BF16 copies, and makes a new version. Bias correction
  /// counts each parameter's own updates, since experts that no token reached are left out of a
  /// step. Gate biases are not touched.
  void update(const kernels::ComputeContext& context, ParameterSet& set) const;
};

}  // namespace sluice::model
