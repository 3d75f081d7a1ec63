// A run's config as the cost model sees it.
#pragma once

#include "graph/cost/layout.hpp"
#include "runtime/config/config.hpp"

namespace sluice::config {

/// Errors: a recipe that has no rates; a schedule file that cannot be read.
[[nodiscard]] Result<cost::Job> job_of(const Config& config, const model::ModelConfig& model);

}  // namespace sluice::config
