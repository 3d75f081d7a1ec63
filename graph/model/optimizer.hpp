// One AdamW update of all parameters of an owner.
#pragma once

#include "graph/model/parameters.hpp"

namespace sluice::model {

struct AdamW {
  float learning_rate = 0;
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  float weight_decay = 0.1f;  ///< of matrices; vectors are not decayed
  float gradient_scale = 1;   ///< the clipping factor

  /// Updates master weights, moments and BF16 copies, and makes a new version. Bias correction
  /// counts each parameter's own updates, since experts that no token reached are left out of a
  /// step. Gate biases are not touched.
  void update(const kernels::ComputeContext& context, ParameterSet& set) const;
};

}  // namespace sluice::model
