// What a run decides and actors need: loss weights, the optimizer, and how the learning rate moves.
#pragma once

#include <cstdint>
#include <functional>

namespace sluice::actors {

struct LossSettings {
  double balance_alpha = 1e-4;  ///< of the sequence-wise balance loss (report eq. 17)
  double mtp_lambda = 0.3;      ///< of the mean over MTP depths (report eq. 25)
  double bias_gamma = 1e-3;     ///< step of e_score_correction_bias (report 2.1.2)
};

struct OptimizerSettings {
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.95;
  double adam_epsilon = 1e-8;
  double weight_decay = 0.1;  ///< of matrices; vectors are not decayed
  double clip_norm = 1.0;     ///< 0: no clipping
  /// Learning rate of training step `index` (0-based). A pure function.
  std::function<double(std::int64_t)> learning_rate = [](std::int64_t) { return 1e-3; };
};

}  // namespace sluice::actors
