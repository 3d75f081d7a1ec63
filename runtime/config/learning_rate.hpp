// The learning rate of each step: linear warm-up, constant, cosine, as DeepSeek-V3 trained
// (report 4.2).
#pragma once

#include <cstdint>

#include "runtime/config/config.hpp"

namespace sluice::config {

/// Of step `index`, 0-based. The rise begins at learning_rate / warmup_steps, since a step at 0
/// would be lost, and reaches learning_rate with step warmup_steps - 1; the cosine's last step, and
/// all after it, have minimum_learning_rate.
[[nodiscard]] double learning_rate_at(const TrainSection& train, std::int64_t index);

}  // namespace sluice::config
