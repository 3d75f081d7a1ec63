// A pure function of the step.
#include "runtime/config/learning_rate.hpp"

#include <cmath>
#include <numbers>

namespace sluice::config {

double learning_rate_at(const TrainSection& train, std::int64_t index) {
  const std::int64_t done = index + 1;
  if (done < train.warmup_steps) {
    return train.learning_rate * static_cast<double>(done) /
           static_cast<double>(train.warmup_steps);
  }
  const std::int64_t decayed = done - train.warmup_steps - train.constant_steps;
  if (decayed <= 0) return train.learning_rate;
  if (decayed >= train.decay_steps) return train.minimum_learning_rate;
  const double share = static_cast<double>(decayed) / static_cast<double>(train.decay_steps);
  const double fall = train.learning_rate - train.minimum_learning_rate;
  return train.minimum_learning_rate + fall * 0.5 * (1 + std::cos(std::numbers::pi * share));
}

}  // namespace sluice::config
